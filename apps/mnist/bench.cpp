// mnist bench: times of training steps and of inference, dense and packed.
#include <algorithm>
#include <chrono>

#include "apps/common/cli.h"
#include "apps/common/decoded.h"
#include "apps/common/latency.h"
#include "apps/common/peak.h"
#include "apps/common/statistics.h"
#include "apps/common/table.h"
#include "apps/mnist/digits.h"
#include "apps/mnist/verbs.h"
#include "core/files/atomic_file.h"
#include "core/files/model.h"
#include "core/parallel.h"
#include "ops/op_list.h"
#include "quant/compress.h"

namespace tessera::apps {

namespace {

constexpr double kLearningRate = 0.01;
constexpr std::int64_t kSteps = 200;  // at least, of each kind, in each repeat
constexpr int kProfiledRuns = 100;
constexpr std::uint64_t kSeed = 1;

// Times whole training steps, data included, of full batches.
class StepTimer {
 public:
  StepTimer(nn::Trainer& trainer, const BatchSource& data) : trainer_(trainer), data_(data) {
    run_epoch(nullptr);  // compiles, warms up
  }
  void run(std::int64_t steps) {
    for (const std::size_t end = ms_.size() + static_cast<std::size_t>(steps); ms_.size() < end;) {
      run_epoch(&ms_);
    }
  }
  const std::vector<double>& ms() const { return ms_; }

 private:
  void run_epoch(std::vector<double>* out) {
    using Clock = std::chrono::steady_clock;
    std::optional<Clock::time_point> last;
    trainer_.train_epoch(
        data_, position_, [](double) { return kLearningRate; },
        [&](const nn::StepReport& step) {
          const auto now = Clock::now();
          // The first step shuffles, the last may be a smaller batch.
          if (out && last && step.step < step.steps) {
            out->push_back(std::chrono::duration<double, std::milli>(now - *last).count());
          }
          last = now;
        });
  }

  nn::Trainer& trainer_;
  const BatchSource& data_;
  nn::Position position_;
  std::vector<double> ms_;
};

void profile(Session& session, nn::Trainer& trainer, const BatchSource& data,
             const std::string& trace) {
  const std::int64_t batch = trainer.options().batch;
  const Plan& plan = trainer.train_plan(batch);
  RunContext context = plan.context(trainer.state());
  Tensor x(DType::f32, Shape{batch, trainer.sample()[0]}), y(DType::s32, Shape{batch});
  data.fill(0, 0, x, y);
  context.bind("x", x);
  context.bind("y", y);
  context.set("lr", static_cast<float>(kLearningRate));
  context.run();
  std::vector<double> seconds;
  const auto steps = profile_steps(plan, context, kProfiledRuns, &seconds);
  const double peak = measure_peak_gflops();
  session.text() << "\nSteps of the plan, medians of " << kProfiledRuns
                 << " runs; peak measured now: " << fixed(peak, 0) << " GFLOP/s on "
                 << num_threads() << " threads\n"
                 << step_table(steps, peak);
  session.json()["peak_gflops"] = peak;
  for (const TimedStep& step : steps) {
    session.json()["steps"].push_back({{"op", step.op},
                                       {"name", step.name},
                                       {"kernel", step.kernel},
                                       {"type", step.type},
                                       {"ms", step.ms},
                                       {"flops", step.flops},
                                       {"bytes", step.bytes}});
  }
  if (!trace.empty()) {
    write_file(trace, RunContext::chrome_trace(plan, seconds));
    session.text() << "trace: " << trace << " (open in chrome://tracing)\n";
  }
}

void bench_training(Session& session, const Task& task, std::int64_t batch, int repeat,
                    const std::string& trace) {
  check(task.train(kSeed)->samples() >= 3 * batch, "--batch ", batch,
        ": the training set is too small for a benchmark; it needs three full batches");
  TrainRecipe recipe = default_training();
  recipe.batch = batch;
  CompressRecipe compress = default_compression();
  const auto data = task.train(kSeed);
  nn::Trainer plain(task.network, task.sample, task.classes, recipe.trainer(kSeed));
  nn::Trainer penalized(task.network, task.sample, task.classes, recipe.trainer(kSeed));
  const auto plan = quant::plan_compression(penalized.parameters(), penalized.state(),
                                            compress.policy("adaptive:2"));
  const auto lc = compress.method("lc");
  lc->begin(penalized, plan, false);
  lc->before_epoch(penalized, 0, true);

  StepTimer without(plain, *data), with(penalized, *data);
  for (int r = 0; r < repeat; ++r) {  // in turns, so that a slow phase of the machine hits both
    without.run(kSteps);
    with.run(kSteps);
  }
  Table table({"training step, batch " + std::to_string(batch), "median ms", "min ms", "steps"});
  const auto row = [&](const std::string& name, const std::vector<double>& ms) {
    table.add({name, fixed(median(ms), 4), fixed(*std::min_element(ms.begin(), ms.end()), 4),
               std::to_string(ms.size())});
  };
  row("plain", without.ms());
  row("with LC penalty", with.ms());
  table.print(session.text());
  auto& json = session.json();
  json["batch"] = batch;
  json["train_step_ms"] = median(without.ms());
  json["train_step_min_ms"] = *std::min_element(without.ms().begin(), without.ms().end());
  json["train_step_lc_ms"] = median(with.ms());
  json["train_step_lc_min_ms"] = *std::min_element(with.ms().begin(), with.ms().end());
  profile(session, plain, *data, trace);
}

// Inference of one model at several batch sizes.
void bench_model(Session& session, Table& table, const std::string& name, const Model& model,
                 bool packed, int repeat) {
  for (const std::int64_t batch : {1, 8, 32, 256}) {
    std::vector<double> medians, minima;
    Latency last;
    for (int r = 0; r < repeat; ++r) {
      last = measure_latency(model, batch, packed);
      medians.push_back(last.median_us);
      minima.push_back(last.min_us);
    }
    const double us = median(medians), least = *std::min_element(minima.begin(), minima.end());
    table.add({name, std::to_string(batch), fixed(us, 2), fixed(least, 2),
               fixed(1e6 * static_cast<double>(batch) / us, 0), std::to_string(last.bytes),
               std::to_string(last.weight_bytes), fixed(last.flops / us / 1e3, 1), last.kernels});
    session.json()["inference"].push_back({{"model", name},
                                           {"batch", batch},
                                           {"median_us", us},
                                           {"min_us", least},
                                           {"bytes", last.bytes},
                                           {"weight_bytes", last.weight_bytes},
                                           {"flops", last.flops},
                                           {"kernel", last.kernels}});
  }
}

// Of a file, or of a network with initial weights, whose speed is the same.
void bench_inference(Session& session, const Task& task, const std::string& file,
                     const std::vector<std::string>& codebooks, int repeat) {
  Table table({"model", "batch", "median us", "min us", "images/s", "bytes moved", "weight bytes",
               "GFLOP/s", "kernel"});
  if (!file.empty()) {
    const Model model = load(file, ops::standard_ops());
    bench_model(session, table, "decoded", decoded(model), false, repeat);
    bench_model(session, table, "packed", model, true, repeat);
  } else {
    const CompressRecipe recipe = default_compression();
    nn::Trainer trainer(task.network, task.sample, task.classes, recipe.trainer(kSeed));
    bench_model(session, table, "f32", nn::inference_model(trainer), false, repeat);
    for (const auto& codebook : codebooks) {
      quant::DirectCompression direct;
      direct.begin(
          trainer,
          quant::plan_compression(trainer.parameters(), trainer.state(), recipe.policy(codebook)),
          false);
      bench_model(session, table, codebook, quant::harden(trainer, direct.codebooks(trainer)), true,
                  repeat);
    }
  }
  session.text() << "\nInference, caches hot; bytes moved: operands of all steps, each once\n";
  table.print(session.text());
}

}  // namespace

int mnist_bench(const std::vector<std::string>& args) {
  DataFlags data;
  RunFlags run;
  CodebookFlags codebooks;
  codebooks.bits = "1,2,4";
  std::string activation = "tanh", trace;
  std::int64_t batch = 256;
  int repeat = 3;
  bool train = false, infer = false;
  po::options_description options("Flags");
  data.add_flags(options);
  auto add = options.add_options();
  add("train", po::bool_switch(&train), "training steps only");
  add("infer", po::bool_switch(&infer), "inference only");
  add("activation", text_flag(activation, "NAME"), "tanh or relu");
  add("batch", flag(batch), "samples of a training step");
  add("repeat", flag(repeat), "rounds; figures are medians over all");
  add("trace", text_flag(trace, "FILE"), "write one training step for chrome://tracing");
  codebooks.add_flags(options);
  run.add_reading_flags(options);
  std::vector<std::string> files;
  const VerbUsage usage{"mnist bench [MODEL.json] [flags]",
                        "Measures training steps, and inference of MODEL.json or of untrained "
                        "networks at several codebooks."};
  if (!parse_flags(args, usage, options, files, 1)) return kExitDone;
  check(files.size() <= 1, "expected at most one model file; usage: ", usage.line);
  check_range("--batch", static_cast<double>(batch), 1, 1 << 20);
  check_range("--repeat", repeat, 1, 1000);
  if (codebooks.codebook != "adaptive" || codebooks.k) codebooks.bits.clear();
  const auto kinds = codebooks.codebooks();
  const auto kind = models::parse_activation(activation);
  Session session(run);
  const Task task = digits_task(load_digits(data), kind);
  session.open_outputs();
  session.detail() << "Data: " << task.data << std::endl;
  session.json() = {{"verb", "bench"},
                    {"threads", num_threads()},
                    {"data", task.data},
                    {"activation", activation},
                    {"features", text(active_features())}};
  const std::string file = files.empty() ? "" : files[0];
  if (train || !infer) bench_training(session, task, batch, repeat, trace);
  if (infer || !train) bench_inference(session, task, file, kinds, repeat);
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
