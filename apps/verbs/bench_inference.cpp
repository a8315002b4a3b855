// Times of inference, dense and packed.
#include <cmath>

#include "apps/verbs/bench.h"
#include "core/text.h"
#include "experiment/task.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/pack/decoded.h"
#include "quant/pack/reshaped.h"
#include "report/table.h"
#include "timing/latency.h"
#include "timing/peak.h"

namespace tessera::apps {

namespace {

constexpr std::uint64_t kSeed = 1;
constexpr std::int64_t kMostValues = std::int64_t{1} << 23;  // of an input; activations are more

// Times models at several batch sizes, one row each, and the same one step at a time.
class Bench {
 public:
  Bench(Session& session, const Task& task, std::int64_t training_batch, int repeat, bool int8)
      : session_(session),
        task_(task),
        unit_(task.data.task->unit()),
        batches_(unit_.count == 1 ? std::vector<std::int64_t>{1, 8, 32, 256}
                                  : std::vector<std::int64_t>{1, training_batch}),
        repeat_(repeat),
        int8_(int8),
        gflops_(measure_peak_gflops()),
        table_({"model", "batch", "least us", "median us", unit_.name + "/s", "bytes moved",
                "weight bytes", "GFLOP/s", "floor us", "floor %", "kernel", "decoded"}) {}

  void add(const std::string& name, const Model& model) {
    time(name, model, unit_.count);
    const auto step = task_.data.task->stepwise();
    if (step == nullptr) return;
    const auto network = with_activations_of(model, task_.network.network);
    time(name + ", stepwise", quant::reshaped(nn::inference_graph(*network, *step), model),
         step->unit().count);
  }
  void print() {
    session_.text() << "\nInference, caches hot, medians of rounds: the least and the median of "
                       "them; rates by the least.\nBytes moved: operands of all steps, each once; "
                       "decoded: weights that a kernel needs whole.\nFloor: each step at "
                    << fixed(gflops_, 0)
                    << " GFLOP/s, or reading its operands as fast as this machine reads "
                       "so many bytes again and again, both measured now"
                    << (int8_ ? " (integers: reading alone)" : "") << ".\n"
                    << kUnstableNote << ".\n";
    table_.print(session_.text());
    session_.json()["peak_gflops"] = gflops_;
  }

 private:
  void time(const std::string& name, const Model& model, std::int64_t units) {
    for (const std::int64_t batch : batches_) {
      std::int64_t values = 0;
      for (const Field& field : fields_of(model.graph, name)) values += field.sample.numel();
      if (batch * values > kMostValues) break;
      std::vector<Timing> rounds;
      Latency last;
      for (int r = 0; r < repeat_; ++r) {
        last = measure_latency(model, {.batch = batch, .int8 = int8_});
        rounds.push_back(last.us);
      }
      const Timing us = together(rounds);
      const double gbps = measure_read_gbps(last.weight_bytes);
      const double floor = floor_us(last.work, int8_ ? INFINITY : gflops_, gbps);
      const double rate = 1e6 * static_cast<double>(batch * units) / us.least;
      table_.add({name, std::to_string(batch), least_text(us, 2), fixed(us.median, 2),
                  fixed(rate, 0), std::to_string(last.bytes), std::to_string(last.weight_bytes),
                  fixed(last.flops / us.least / 1e3, 1), fixed(floor, 1),
                  fixed(100 * floor / us.least, 0), last.kernels,
                  std::to_string(last.decoded.size())});
      session_.json()["inference"].push_back({{"model", name},
                                              {"batch", batch},
                                              {"least_us", us.least},
                                              {"median_us", us.median},
                                              {"unstable", us.unstable()},
                                              {unit_.name + "_per_second", rate},
                                              {"bytes", last.bytes},
                                              {"weight_bytes", last.weight_bytes},
                                              {"flops", last.flops},
                                              {"floor_us", floor},
                                              {"read_gbps", gbps},
                                              {"kernel", last.kernels},
                                              {"decoded", last.decoded}});
    }
  }

  Session& session_;
  const Task& task_;
  nn::Task::Unit unit_;
  std::vector<std::int64_t> batches_;
  int repeat_;
  bool int8_;
  double gflops_;
  Table table_;
};

}  // namespace

void bench_inference(Session& session, const Task& task, const Recipes& recipes,
                     const std::optional<Model>& model, const std::vector<std::string>& codebooks,
                     int repeat, bool int8) {
  Bench bench(session, task, recipes.train.batch, repeat, int8);
  if (model) {
    bench.add("decoded", quant::decoded(*model));
    bench.add("packed", *model);
  } else {
    const CompressRecipe& recipe = recipes.compress;
    nn::Trainer trainer = make_trainer(task, recipe.trainer(kSeed));
    bench.add("f32", nn::inference_model(trainer));
    for (const auto& codebook : codebooks) {
      const auto plan = quant::plan_compression(trainer.parameters(), trainer.state(),
                                                recipe.policy(codebook, 0));
      const auto direct = quant::compressed(trainer, plan, quant::direct_compression());
      bench.add(codebook, quant::harden(trainer, direct));
    }
  }
  bench.print();
}

}  // namespace tessera::apps
