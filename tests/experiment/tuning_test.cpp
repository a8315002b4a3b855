// Kernels by measurement, and what compiling tells who chooses.
#include "timing/tuning.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "core/compile.h"
#include "core/cpu.h"
#include "core/files/atomic_file.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "tests/datasets/temp_dir.h"
#include "tests/error_of.h"
#include "timing/row_trial.h"

namespace tessera::experiment {
namespace {

using testing::error_of;

// An op whose first row sleeps and whose others do not.
std::vector<TensorType> same_type(const InferArgs& args) {
  return {args.in(0)};
}
std::string serves(const KernelQuery&) {
  return {};
}
template <int kMicroseconds>
KernelPlan sleeper(const KernelQuery&) {
  return {.run = [](const KernelArgs& args) {
    std::this_thread::sleep_for(std::chrono::microseconds(kMicroseconds));
    std::copy_n(args.in(0).as<const float>(), 3, args.out().as<float>());
  }};
}
KernelPlan in_a_layout(const KernelQuery& query) {
  KernelPlan plan = sleeper<0>(query);
  plan.layout = "elsewhere";
  return plan;
}
// Their needs are those of a machine that this one is told to be.
constexpr KernelRow kSleepers[] = {{"slow", kAvx2, serves, sleeper<2000>},
                                   {"layout", kAvx2, serves, in_a_layout},
                                   {"fast", kAvx2, serves, sleeper<1>},
                                   {"plain", kScalar, serves, sleeper<0>}};
const OpDef kSleep{.name = "test_sleep",
                   .doc = "x",
                   .inputs = {{.name = "x"}},
                   .infer = same_type,
                   .ref = [](const RefArgs& args) { args.out().v = args.in(0).v; },
                   .rows = kSleepers};

OpSet& ops_with_sleep() {
  static OpSet set = [] {
    OpSet out = ops::standard_ops();
    out.add(kSleep);
    return out;
  }();
  return set;
}

std::string kernel_of(RowChoice* choice) {
  Graph graph(ops_with_sleep());
  graph.set_output("y", graph.add(kSleep, {graph.input("x", f32({3}))}).output());
  const Plan plan = compile(graph, {.threads = 1, .features = kAvx2, .choice = choice});
  return plan.steps().back().kernel;
}

TEST(Tuning, TakesWhatIsFasterAndRemembersIt) {
  EXPECT_EQ(kernel_of(nullptr), "slow");
  const datasets::TempDir folder;
  const auto file = folder.path() / "kernels.json";
  Tuning tuning(file);
  EXPECT_EQ(kernel_of(&tuning), "fast");
  EXPECT_EQ(tuning.measured(), 1);
  ASSERT_EQ(tuning.changes().size(), 1u);
  EXPECT_EQ(tuning.changes()[0].by_rule, "slow");
  EXPECT_GT(tuning.changes()[0].rule_us, 1000);
  EXPECT_LT(tuning.changes()[0].taken_us, 1000);
  EXPECT_EQ(kernel_of(&tuning), "fast");
  EXPECT_EQ(tuning.measured(), 1);  // remembered
  tuning.save();
  Tuning again(file);
  EXPECT_EQ(kernel_of(&again), "fast");
  EXPECT_EQ(again.measured(), 0);
  // What a file says of a row that is gone does not matter.
  std::string text = read_file(file);
  text.replace(text.find("\"fast\""), 6, "\"gone\"");
  write_file(file, text);
  Tuning other(file);
  EXPECT_EQ(kernel_of(&other), "fast");
  EXPECT_EQ(other.measured(), 1);
}

TEST(Tuning, RefusesFilesOfOthers) {
  const datasets::TempDir folder;
  const auto file = folder.path() / "k.json";
  const auto refusal = [&](const std::string& text) {
    write_file(file, text);
    return error_of([&] { Tuning tuning(file); });
  };
  const std::string other = R"({"format":"tessera kernels 1","processor":"abacus","kernels":{}})";
  EXPECT_NE(refusal(other).find("/processor: measured on 'abacus', this is '"), std::string::npos)
      << refusal(other);
  EXPECT_NE(refusal(R"({"format":"x","processor":"a","kernels":{}})").find("/format"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"format":"tessera kernels 1"})").find("processor"), std::string::npos);
  EXPECT_NE(refusal("[").find("k.json"), std::string::npos);
}

// Every row of a product with a codebook, on operands of the trial's own.
class Recorder : public RowChoice {
 public:
  std::size_t choose(const KernelQuery& query, std::span<const RowCandidate> rows) override {
    for (const RowCandidate& candidate : rows) {
      if (query.node.op().name != "matmul") continue;
      names.push_back(candidate.row->name);
      RowTrial trial(query, candidate.plan);
      EXPECT_GT(trial.run(), 0) << candidate.row->name;
      trial.evict();
      EXPECT_GT(trial.run(), 0) << candidate.row->name;
      EXPECT_GE(trial.bytes(), 4 * (5 * 40 + 5 * 33)) << candidate.row->name;
    }
    return rows.size() - 1;
  }
  std::vector<std::string_view> names;
};

TEST(RowTrial, RunsEveryRowThatServes) {
  Graph graph(ops::standard_ops());
  const Shape shape{33, 40};
  const CodebookFormat format{.bits = 4, .scale_block = 8};
  const Value w = ops::codebook(
      graph.param("fc.weight.indices", {DType::u8, format.indices_shape(shape), {}}),
      graph.param("fc.weight.entries", {DType::f32, {1, 16}, {}}),
      graph.param("fc.weight.scale", {DType::f32, format.scale_shape(shape), {}}), format, shape);
  graph.set_output("y", ops::linear(graph.input("x", f32({5, 40})), w));
  Recorder recorder;
  const Plan plan = compile(graph, {.int8 = true, .choice = &recorder});
  EXPECT_GE(recorder.names.size(), 2u);
  const StepInfo& step = plan.steps().back();
  EXPECT_EQ(step.kernel, recorder.names.back());
  EXPECT_EQ(step.weight, "fc.weight");
  ASSERT_FALSE(step.refusals.empty());
  EXPECT_EQ(step.refusals.back(), std::string(recorder.names[recorder.names.size() - 2]) + ": " +
                                      step.kernel + " was chosen");
}

}  // namespace
}  // namespace tessera::experiment
