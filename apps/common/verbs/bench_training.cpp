// Times of training steps.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "apps/common/full_batches.h"
#include "apps/common/latency.h"
#include "apps/common/peak.h"
#include "apps/common/statistics.h"
#include "apps/common/table.h"
#include "apps/common/verbs/bench.h"
#include "core/files/atomic_file.h"
#include "core/parallel.h"
#include "quant/compress.h"

namespace tessera::apps {

namespace {

constexpr double kLearningRate = 0.01;
constexpr std::uint64_t kSeed = 1;
constexpr std::int64_t kWarmUp = 2;
constexpr std::int64_t kLeast = 20, kMost = 200;  // steps of one round where nobody says
constexpr double kRoundSeconds = 2, kProfileSeconds = 2;
constexpr std::int64_t kMostProfiled = 100;

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

class StepTimer {
 public:
  StepTimer(nn::Trainer& trainer, std::shared_ptr<const BatchSource> data)
      : trainer_(trainer), data_(std::move(data)) {
    run(kWarmUp);  // compiles
    ms_.clear();
  }
  // The first step of a run shuffles and is not counted.
  void run(std::int64_t steps) {
    std::optional<Clock::time_point> last;
    trainer_.train_epoch(
        FullBatches(data_, trainer_.options().batch, steps + 1), position_,
        [](double) { return kLearningRate; },
        [&](const nn::StepReport&) {
          if (last) ms_.push_back(ms_since(*last));
          last = Clock::now();
        });
  }
  const std::vector<double>& ms() const { return ms_; }

 private:
  nn::Trainer& trainer_;
  std::shared_ptr<const BatchSource> data_;
  nn::Position position_;
  std::vector<double> ms_;
};

// As many as fit the round's time, by the time of one.
std::int64_t steps_of_round(StepTimer& timer, std::int64_t wanted) {
  if (wanted > 0) return wanted;
  const auto start = Clock::now();
  timer.run(1);
  return std::clamp(static_cast<std::int64_t>(2e3 * kRoundSeconds / ms_since(start)), kLeast,
                    kMost);
}

void profile(Session& session, nn::Trainer& trainer, const BatchSource& data,
             const TrainBench& bench, double step_ms) {
  const Plan& plan = trainer.train_plan(bench.batch);
  RunContext context = plan.context(trainer.state());
  Shape shape{bench.batch};
  for (const Dim d : trainer.sample().dims()) shape.push_back(d);
  Tensor x(DType::f32, shape), y(DType::s32, Shape{bench.batch});
  data.fill(0, 0, x, y);
  context.bind("x", x);
  context.bind("y", y);
  context.set("lr", static_cast<float>(kLearningRate));
  Tensor seed(DType::s64, {}), step(DType::s64, {});
  if (plan.has_input("seed")) {
    context.bind("seed", seed);
    context.bind("step", step);
  }
  context.run();
  const auto runs = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(1e3 * kProfileSeconds / step_ms), 5, kMostProfiled);
  std::vector<double> seconds;
  const auto steps = profile_steps(plan, context, static_cast<int>(runs), &seconds);
  const double peak = measure_peak_gflops();
  session.text() << "\nSteps of the plan, medians of " << runs
                 << " runs; peak measured now: " << fixed(peak, 0) << " GFLOP/s on "
                 << num_threads() << " threads\n"
                 << step_table(steps, peak);
  double total = 0;
  for (const TimedStep& s : steps) total += s.ms;
  session.json()["peak_gflops"] = peak;
  for (const TimedStep& s : steps) {
    session.json()["steps"].push_back({{"op", s.op},
                                       {"name", s.name},
                                       {"kernel", s.kernel},
                                       {"type", s.type},
                                       {"ms", s.ms},
                                       {"share", s.ms / std::max(total, 1e-12)},
                                       {"flops", s.flops},
                                       {"bytes", s.bytes}});
  }
  if (!bench.trace.empty()) {
    write_file(bench.trace, RunContext::chrome_trace(plan, seconds));
    session.text() << "trace: " << bench.trace << " (open in chrome://tracing)\n";
  }
}

}  // namespace

void bench_training(Session& session, const Task& task, const Recipes& recipes,
                    const TrainBench& bench) {
  TrainRecipe recipe = recipes.train;
  recipe.batch = bench.batch;
  recipe.compute = bench.bf16 ? "bf16" : "f32";
  const auto data = training_data(task, kSeed, recipe.augment);
  check(data->samples() >= bench.batch, "--batch ", bench.batch, ": the training set has only ",
        data->samples(), " samples");
  const auto trainer = [&] {
    return nn::Trainer(task.network.module, task.network.sample, task.data.classes,
                       recipe.trainer(kSeed));
  };
  nn::Trainer plain = trainer();
  StepTimer without(plain, data);
  const std::int64_t steps = steps_of_round(without, bench.steps);
  session.json()["batch"] = bench.batch;
  if (bench.peak_memory) {  // before anything else takes memory
    without.run(1);
    session.json()["peak_memory_bytes"] = peak_memory_bytes();
    session.text() << "peak memory of this process, data and plan included: "
                   << fixed(static_cast<double>(peak_memory_bytes()) / (1 << 20), 1) << " MiB\n";
  }
  std::optional<nn::Trainer> penalized;
  std::optional<StepTimer> with;
  std::unique_ptr<quant::Method> lc;
  if (bench.lc) {
    penalized.emplace(trainer());
    const auto plan = quant::plan_compression(penalized->parameters(), penalized->state(),
                                              recipes.compress.policy("adaptive:2", 0));
    lc = recipes.compress.method("lc");
    lc->begin(*penalized, plan, false);
    lc->before_epoch(*penalized, 0, true);
    with.emplace(*penalized, data);
  }
  for (int r = 0; r < bench.repeat;
       ++r) {  // in turns, so that a slow phase of the machine hits both
    without.run(steps);
    if (with) with->run(steps);
  }
  Table table({"training step, batch " + std::to_string(bench.batch), "median ms", "min ms",
               "samples/s", "steps"});
  const auto row = [&](const std::string& name, const std::string& key, const StepTimer& timer) {
    const double least = *std::min_element(timer.ms().begin(), timer.ms().end());
    table.add({name, fixed(median(timer.ms()), 4), fixed(least, 4),
               fixed(1e3 * static_cast<double>(bench.batch) / median(timer.ms()), 0),
               std::to_string(timer.ms().size())});
    session.json()[key + "_ms"] = median(timer.ms());
    session.json()[key + "_min_ms"] = least;
  };
  row("plain", "train_step", without);
  if (with) row("with LC penalty", "train_step_lc", *with);
  table.print(session.text());
  profile(session, plain, *data, bench, median(without.ms()));
}

}  // namespace tessera::apps
