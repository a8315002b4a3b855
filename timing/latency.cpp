#include "timing/latency.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "core/interrupt.h"
#include "core/rng.h"
#include "core/text.h"

namespace tessera::experiment {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kInputSeed = 1;
constexpr int kRounds = 5, kLeastRounds = 2;
constexpr std::size_t kLeastRuns = 2;  // of a round
// Steps with less of the arithmetic than this are no news in a table's "kernel" column.
constexpr double kMainShare = 0.02;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Tensor random_input(const TensorType& type, std::int64_t batch) {
  Tensor x(type.dtype, type.shape.bind(batch));
  if (type.dtype != DType::f32) return x;  // an index that there always is
  Rng rng(kInputSeed, stable_id("latency"));
  for (float& value : x.span<float>()) value = rng.uniform(-1, 1);
  return x;
}

// Kernels by what all their steps do: of a deep network no single step counts.
std::string main_kernels(const std::vector<StepInfo>& steps, double total) {
  std::vector<std::pair<std::string, double>> work;
  for (const StepInfo& step : steps) {
    if (step.prologue) continue;
    auto at = std::find_if(work.begin(), work.end(),
                           [&](const auto& kernel) { return kernel.first == step.kernel; });
    if (at == work.end()) at = work.insert(work.end(), {step.kernel, 0.0});
    at->second += step.flops;
  }
  std::string out;
  for (const auto& [name, flops] : work) {
    if (flops >= kMainShare * total) out += (out.empty() ? "" : "+") + name;
  }
  return out;
}

// A made-up input for each of the graph.
class Inputs {
 public:
  Inputs(const Graph& graph, std::int64_t batch) {
    for (const Node* node : graph.inputs())
      tensors_.emplace_back(node->name(), random_input(node->types()[0], batch));
  }
  RunContext context(const Plan& plan) const {
    RunContext out = plan.context();
    for (const auto& [name, tensor] : tensors_) {
      if (plan.has_input(name)) out.bind(name, tensor);
    }
    return out;
  }

 private:
  std::vector<std::pair<std::string, Tensor>> tensors_;
};

}  // namespace

Latency measure_latency(const Model& model, const CompileOptions& options, double seconds) {
  const std::int64_t batch = options.batch;
  const Plan plan = compile(model, options);
  const Inputs inputs(model.graph, batch);
  stop_if_interrupted();
  Latency out;
  out.batch = batch;
  std::vector<std::vector<double>> rounds;
  const auto begin_all = Clock::now();
  for (int r = 0; r < kLeastRounds || (r < kRounds && seconds_since(begin_all) < seconds); ++r) {
    RunContext context = inputs.context(plan);
    const double share = seconds / kRounds;
    const auto warm = Clock::now();
    context.run();
    while (seconds_since(warm) < 0.2 * share) context.run();
    auto& times = rounds.emplace_back();
    const auto start = Clock::now();
    while (seconds_since(start) < 0.8 * share || times.size() < kLeastRuns) {
      const auto begin = Clock::now();
      context.run();
      times.push_back(1e6 * seconds_since(begin));
    }
    out.runs += static_cast<std::int64_t>(times.size());
  }
  out.rounds = static_cast<std::int64_t>(rounds.size());
  out.us = timing_of(rounds);
  for (const StepInfo& step : plan.steps()) {
    if (step.prologue) continue;
    out.bytes += step.bytes;
    out.flops += step.flops;
    if (step.flops > 0) out.work.push_back({step.flops, step.bytes});
  }
  out.memory = plan.memory();
  out.threads = plan.threads();
  out.weight_bytes = out.memory.persistent + out.memory.states;
  out.kernels = main_kernels(plan.steps(), out.flops);
  out.decoded = plan.decoded();
  return out;
}

double floor_us(const std::vector<Latency::Work>& work, double gflops, double gbps) {
  double out = 0;
  for (const Latency::Work& step : work)
    out += std::max(step.flops / gflops, static_cast<double>(step.bytes) / gbps) / 1e3;
  return out;
}

std::string least_text(const Timing& timing, int digits) {
  return fixed(timing.least, digits) + (timing.unstable() ? "~" : "");
}

std::vector<TimedStep> profile_steps(const Plan& plan, RunContext& context, int runs,
                                     std::vector<double>* last) {
  std::vector<std::vector<double>> times(plan.steps().size());
  std::vector<double> seconds;
  for (int r = 0; r < runs; ++r) {
    stop_if_interrupted();
    seconds = context.profile();
    for (std::size_t s = 0; s < seconds.size(); ++s) times[s].push_back(seconds[s]);
  }
  std::vector<TimedStep> out;
  for (std::size_t s = 0; s < times.size(); ++s) {
    const StepInfo& info = plan.steps()[s];
    if (info.prologue) continue;
    out.push_back({info.name, info.op, info.kernel, info.type, 1e3 * median(times[s]), info.flops,
                   info.bytes});
  }
  if (last) *last = std::move(seconds);
  return out;
}

std::vector<LayerTime> measure_layers(const Model& model, const CompileOptions& options,
                                      double seconds) {
  const Plan plan = compile(model, options);
  const Inputs inputs(model.graph, options.batch);
  std::vector<double> least(plan.steps().size(), std::numeric_limits<double>::infinity());
  const auto begin = Clock::now();
  for (int r = 0; r < kLeastRounds || (r < kRounds && seconds_since(begin) < seconds); ++r) {
    RunContext context = inputs.context(plan);  // memory elsewhere
    context.run();
    const auto start = Clock::now();
    std::size_t runs = 0;
    while (seconds_since(start) < seconds / kRounds || runs < kLeastRuns) {
      stop_if_interrupted();
      const std::vector<double> times = context.profile();
      for (std::size_t s = 0; s < times.size(); ++s) least[s] = std::min(least[s], times[s]);
      ++runs;
    }
  }
  std::vector<LayerTime> layers;
  LayerTime rest;
  for (std::size_t s = 0; s < least.size(); ++s) {
    const StepInfo& step = plan.steps()[s];
    if (step.prologue) continue;
    LayerTime* layer = &rest;
    if (!step.weight.empty()) {
      const auto known = std::find_if(layers.begin(), layers.end(),
                                      [&](const LayerTime& l) { return l.weight == step.weight; });
      layer = known != layers.end() ? &*known : &layers.emplace_back();
      layer->weight = step.weight;
      layer->type = step.type;
      if (!layer->kernels.ends_with(step.kernel))
        layer->kernels += (layer->kernels.empty() ? "" : "+") + step.kernel;
    }
    layer->us += 1e6 * least[s];
    layer->flops += step.flops;
    layer->bytes += step.bytes;
  }
  if (rest.us > 0) layers.push_back(rest);
  return layers;
}

}  // namespace tessera::experiment
