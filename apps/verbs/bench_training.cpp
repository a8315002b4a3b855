// Times of training steps.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "apps/cli/ranks.h"
#include "apps/verbs/bench.h"
#include "apps/verbs/bench_ranks.h"
#include "core/files/atomic_file.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/text.h"
#include "experiment/step_time.h"
#include "ops/op_list.h"
#include "quant/method/compress.h"
#include "report/table.h"
#include "timing/latency.h"
#include "timing/peak.h"
#include "timing/statistics.h"

namespace tessera::apps {

namespace {

constexpr double kLearningRate = 0.01;
constexpr std::uint64_t kSeed = 1;
constexpr std::int64_t kLeast = 20, kMost = 200;  // steps of one round where nobody says
constexpr double kRoundSeconds = 2, kProfileSeconds = 2;
constexpr std::int64_t kMostProfiled = 100;

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// As many as fit the round's time, by the time of one.
std::int64_t steps_of_round(StepTimer& timer, std::int64_t wanted) {
  if (wanted > 0) return wanted;
  const auto start = Clock::now();
  timer.run(1);
  return std::clamp(static_cast<std::int64_t>(2e3 * kRoundSeconds / ms_since(start)), kLeast,
                    kMost);
}

// Each step's share of time, rate, and share of `peak_gflops`.
Table step_table(const std::vector<TimedStep>& steps, double peak_gflops) {
  double total = 0, flops = 0;
  for (const auto& step : steps) total += step.ms, flops += step.flops;
  Table table({"op", "name", "kernel", "type", "ms", "share %", "GFLOP/s", "GB/s", "peak %"});
  for (const auto& step : steps) {
    const double gflops = step.ms > 0 ? step.flops / step.ms / 1e6 : 0;
    const double rate = step.ms > 0 ? static_cast<double>(step.bytes) / step.ms / 1e6 : 0;
    table.add({step.op, step.name, step.kernel, step.type, fixed(step.ms, 4),
               fixed(100 * step.ms / std::max(total, 1e-12), 1), fixed(gflops, 1), fixed(rate, 1),
               fixed(100 * gflops / peak_gflops, 1)});
  }
  const double gflops = flops / std::max(total, 1e-12) / 1e6;
  table.add({"total", "", "", "", fixed(total, 4), "100.0", fixed(gflops, 1), "",
             fixed(100 * gflops / peak_gflops, 1)});
  return table;
}

void profile(Session& session, nn::Trainer& trainer, const BatchSource& data,
             const TrainBench& bench, double step_ms) {
  const std::int64_t rows = bench.batch / trainer.ranks().size();
  const Plan& plan = trainer.train_plan(rows);
  RunContext context = plan.context(trainer.state());
  std::vector<Field> fields;
  for (const Field& field : data.fields()) {
    if (plan.has_input(field.name)) fields.push_back(field);
  }
  TensorMap batch = batch_of(fields, rows);
  data.fill(0, trainer.ranks().rank() * rows, batch);
  for (const auto& [name, tensor] : batch) context.bind(name, tensor);
  context.set("lr", static_cast<float>(kLearningRate));
  bind_rank(plan, context, session);
  Tensor seed(DType::s64, {}), step(DType::s64, {});
  if (plan.has_input("seed")) {
    context.bind("seed", seed);
    context.bind("step", step);
  }
  context.run();
  const auto runs = agreed(
      session, std::clamp<std::int64_t>(static_cast<std::int64_t>(1e3 * kProfileSeconds / step_ms),
                                        5, kMostProfiled));
  std::vector<double> seconds;
  const auto steps = profile_steps(plan, context, static_cast<int>(runs), &seconds);
  const double peak = measure_peak_gflops();
  session.text() << "\nSteps of the plan, medians of " << runs
                 << " runs; peak measured now: " << fixed(peak, 0) << " GFLOP/s on "
                 << num_threads() << " threads\n";
  step_table(steps, peak).print(session.text());
  double total = 0, talk = 0;
  for (const TimedStep& s : steps) {
    total += s.ms;
    const OpDef* op = ops::standard_ops().find(s.op);
    if (op != nullptr && op->has(kCommunicates)) talk += s.ms;
  }
  if (!trainer.ranks().alone()) {
    session.text() << "communication: " << fixed(100 * talk / std::max(total, 1e-12), 1)
                   << " % of the steps' time\n";
    session.json()["communication_share"] = talk / std::max(total, 1e-12);
  }
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
  if (!bench.trace.empty() && leads()) {
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
  recipe.gradients = bench.gradients;
  const auto data = training_data(task, kSeed, recipe.augment, recipe.batch);
  check(data->samples() >= bench.batch, "--batch ", bench.batch, ": the training set has only ",
        data->samples(), " samples");
  const auto trainer = [&] {
    nn::TrainerOptions options = recipe.trainer(kSeed);
    options.ranks.communicator = session.communicator();
    return make_trainer(task, options);
  };
  nn::Trainer plain = trainer();
  StepTimer without(plain, data, kLearningRate);
  const std::int64_t steps = agreed(session, steps_of_round(without, bench.steps));
  session.json()["batch"] = bench.batch;
  if (bench.peak_memory) {  // before anything else takes memory
    without.run(1);
    session.json()["peak_memory_bytes"] = peak_memory_bytes();
    session.text() << "peak memory of this process, data and plan included: "
                   << fixed(static_cast<double>(peak_memory_bytes()) / (1 << 20), 1) << " MiB\n";
  }
  // Trainers stay where they are: timers and plans point to them.
  struct Timed {
    nn::Trainer trainer;
    std::unique_ptr<quant::Method> method;
    std::optional<StepTimer> timer;
  };
  std::vector<std::unique_ptr<Timed>> others;
  for (const auto& name : bench.methods) {
    auto& other = *others.emplace_back(std::make_unique<Timed>(trainer()));
    other.method = recipes.compress.method(name).training;
    const auto plan = quant::plan_compression(other.trainer.parameters(), other.trainer.state(),
                                              recipes.compress.policy(bench.codebook, 0));
    // The middle of the schedule, where all its parts are at work.
    quant::start_at(other.trainer, *data, plan, *other.method,
                    std::floor(static_cast<double>(other.method->epochs()) / 2));
    other.timer.emplace(other.trainer, data, kLearningRate);
  }
  without.forget();
  for (int r = 0; r < bench.repeat; ++r) {
    // In turns, so that a slow phase of the machine hits all.
    without.run(steps);
    for (auto& other : others) other->timer->run(steps);
  }
  const nn::Task::Unit unit = task.data.task->unit();
  Table table({"training step, batch " + std::to_string(bench.batch), "least ms", "median ms",
               unit.name + "/s", "steps"});
  const auto row = [&](const std::string& name, const std::string& key, const StepTimer& timer) {
    const Timing ms = timing_of(timer.rounds());
    std::size_t timed = 0;
    for (const auto& round : timer.rounds()) timed += round.size();
    table.add({name, least_text(ms, 4), fixed(ms.median, 4),
               fixed(1e3 * static_cast<double>(bench.batch * unit.count) / ms.least, 0),
               std::to_string(timed)});
    session.json()[key + "_ms"] = ms.median;
    session.json()[key + "_least_ms"] = ms.least;
    session.json()[key + "_unstable"] = ms.unstable();
  };
  row("plain", "train_step", without);
  for (std::size_t i = 0; i < others.size(); ++i) {
    const std::string& name = bench.methods[i];
    const StepTimer& timer = *others[i]->timer;
    row(name, "train_step_" + name, timer);
    // Round by round, which is what a drifting machine leaves comparable.
    std::vector<double> ratios;
    for (std::size_t r = 0; r < timer.rounds().size(); ++r) {
      ratios.push_back(median(timer.rounds()[r]) / median(without.rounds()[r]));
    }
    session.json()["train_step_" + name + "_ratio"] = median(ratios);
    session.detail() << name << ": " << fixed(median(ratios), 3)
                     << " of the plain step, median of the rounds\n";
  }
  session.text() << "Medians of " << bench.repeat << " rounds: the least and the median of them; "
                 << unit.name << "/s by the least.\n"
                 << kUnstableNote << ".\n";
  table.print(session.text());
  bench_ranks(session, task, recipe, data, plain, without, steps, bench.repeat);
  profile(session, plain, *data, bench, timing_of(without.rounds()).least);
}

}  // namespace tessera::apps
