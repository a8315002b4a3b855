#include "tests/fuzz/exercise.h"

#include <cmath>
#include <ctime>
#include <limits>

#include "core/compile.h"
#include "core/interpret.h"
#include "core/op_def.h"
#include "core/state.h"

namespace tessera::fuzz {

namespace {

constexpr double kMostElements = 1 << 20;  // of all values of a graph that is run
constexpr double kMostFlops = 3e7;
constexpr std::int64_t kMostBytes = std::int64_t{256} << 20;  // of a plan that is run
constexpr double kMostCompared = 1e6;                         // operations of the reference
constexpr double kMostSeconds = 10;                           // of a case

// Whether it chose numbers that a comparison cannot be made with.
bool fill_random(Tensor& tensor, Choices& choices) {
  static constexpr double kOdd[] = {0,     -0.0,     1,         -1,  1e38,      -1e38,
                                    1e-40, INFINITY, -INFINITY, NAN, 16777217.0};
  const bool odd = is_floating(tensor.dtype()) && choices.one_in(6);
  const std::uint64_t most = tensor.dtype() == DType::u8 ? 256 : choices.one_in(4) ? 1000 : 4;
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    double v = is_floating(tensor.dtype()) ? choices.values.uniform(-1, 1)
                                           : static_cast<double>(choices.values.below(most));
    if (odd && choices.values.below(3) == 0) v = kOdd[choices.values.below(std::size(kOdd))];
    set_element(tensor, i, v);
  }
  return odd;
}

struct Leaves {
  std::map<std::string, Tensor> inputs;
  State state;
  RefMap values;  // for the interpreter
  bool odd = false;
};

double elements_of(const Graph& graph) {
  double out = 0;
  for (const Node& node : graph.nodes()) {
    for (const TensorType& type : node.types()) out += static_cast<double>(type.shape.numel());
  }
  return out;
}

bool has_odd_constants(const Graph& graph) {
  for (const Node& node : graph.nodes()) {
    for (const auto& [name, value] : node.attrs().items()) {
      const auto* number = std::get_if<double>(&value);
      // Without an epsilon equal values are 0 times infinity, or not, as they round.
      if (number && (*number != 0 || name == "epsilon") &&
          !(std::abs(*number) >= 1e-3 && std::abs(*number) <= 100))
        return true;
    }
  }
  return false;
}

double work_of(const Graph& graph) {
  double out = 0;
  for (const Node& node : graph.nodes()) out += reference_work(node);
  return out;
}

Leaves draw(const Graph& graph, Choices& choices, const FillLeaf& fill) {
  Leaves out;
  for (const Node& node : graph.nodes()) {
    if (!node.op().has(kLeaf) || &node.op() == &kConstant) continue;
    const TensorType& type = node.types()[0];
    Tensor value(type.dtype, type.shape);
    if (!fill || !fill(node, value)) out.odd |= fill_random(value, choices);
    RefTensor reference{type, {}};
    for (std::int64_t i = 0; i < value.numel(); ++i) reference.v.push_back(element(value, i));
    out.values.emplace(node.name(), std::move(reference));
    if (&node.op() == &kInput) {
      out.inputs.emplace(node.name(), std::move(value));
    } else {
      out.state.set(node.name(), std::move(value));
    }
  }
  return out;
}

void check_close(const std::string& name, const Tensor& got, const RefTensor& want) {
  double largest = 0.1;  // smaller results may be what is left of larger terms
  for (const double v : want.v) {
    // Beyond f32, or where rounding decides, there is nothing to compare.
    if (!std::isfinite(v) || std::abs(v) > 1e30) return;
    largest = std::max(largest, std::abs(v));
  }
  for (std::int64_t i = 0; i < got.numel(); ++i) {
    const double a = element(got, i), b = want.v[static_cast<std::size_t>(i)];
    if (std::abs(a - b) <= 2e-2 * largest) continue;
    throw Finding(cat("output '", name, "' element ", i, " is ", a, ", the reference says ", b));
  }
}

void run(const Graph& graph, const CompileOptions& options, Choices& choices, const FillLeaf& fill,
         bool compare) {
  Leaves leaves = draw(graph, choices, fill);
  std::map<std::string, Tensor> results;
  const bool frozen = graph.updates().empty() && choices.below(2) == 0;
  if (frozen) {
    results = compile(graph, leaves.state, options).run(leaves.inputs);
  } else {
    const Plan plan = compile(graph, options);
    RunContext context = plan.context(leaves.state);
    for (const auto& [name, value] : leaves.inputs) {
      if (plan.has_input(name)) context.bind(name, value);
    }
    context.run();
    context.run();  // the prologue is behind
    for (const auto& [name, value] : graph.outputs()) results.emplace(name, context.output(name));
  }
  if (!compare || leaves.odd || has_odd_constants(graph) || !graph.updates().empty() ||
      work_of(graph) > kMostCompared)
    return;
  std::vector<Value> values;
  for (const auto& output : graph.outputs()) values.push_back(output.second);
  const auto expected = interpret(graph, leaves.values, values);
  for (std::size_t i = 0; i < values.size(); ++i)
    check_close(graph.outputs()[i].first, results.at(graph.outputs()[i].first), expected[i]);
}

}  // namespace

Outcome exercise(const Graph& graph, Choices& choices, const FillLeaf& fill, bool compare) {
  const std::clock_t start = std::clock();  // of the processor: others may use the machine
  reset_allocation_peak();
  const std::int64_t before = allocation_count().live_bytes;
  Outcome outcome = Outcome::refused;
  try {
    static constexpr CpuFeatures kCaps[] = {kAvx2 | kAvx512 | kVnni | kVbmi | kBf16,
                                            kAvx2 | kAvx512 | kVnni | kVbmi | kBf16,
                                            kAvx2 | kAvx512, kAvx2, kScalar};
    CompileOptions options{.batch = static_cast<std::int64_t>(1 + choices.below(3)),
                           .threads = static_cast<int>(1 + choices.below(2)),
                           .features = active_features() & kCaps[choices.below(std::size(kCaps))],
                           .bf16 = choices.one_in(8)};
    compare = compare && !options.bf16;
    const Plan plan = compile(graph, options);
    outcome = Outcome::compiled;
    double flops = 0;
    for (const StepInfo& step : plan.steps()) flops += step.flops;
    const PlanMemory& memory = plan.memory();
    const bool small = memory.arena < kMostBytes && memory.scratch < kMostBytes &&
                       memory.persistent < kMostBytes && memory.states < kMostBytes;
    const Graph bound = specialize(graph, options.batch);
    if (small && flops <= kMostFlops && elements_of(bound) <= kMostElements) {
      run(bound, options, choices, fill, compare);
      outcome = Outcome::ran;
    }
  } catch (const Error& error) {
    const std::string_view what = error.what();
    if (what.empty() || what.find('\n') != what.npos || what.size() > 2000)
      throw Finding(cat("an error that is no clear line: ", what));
    outcome = Outcome::refused;
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  if (seconds > kMostSeconds) throw Finding(cat("took ", seconds, " seconds"));
  if (allocation_count().peak_bytes - before > 5 * kMostBytes)
    throw Finding(cat("took ", allocation_count().peak_bytes - before, " bytes"));
  return outcome;
}

}  // namespace tessera::fuzz
