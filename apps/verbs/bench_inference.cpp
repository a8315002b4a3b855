// Times of inference, dense and packed.
#include "apps/verbs/bench.h"
#include "core/text.h"
#include "experiment/task.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/pack/decoded.h"
#include "quant/pack/reshaped.h"
#include "report/layer_table.h"
#include "report/table.h"
#include "report/tuning_text.h"
#include "timing/latency.h"
#include "timing/peak.h"

namespace tessera::apps {

namespace {

constexpr std::uint64_t kSeed = 1;
constexpr std::int64_t kMostValues = std::int64_t{1} << 23;  // of an input; activations are more

// Times models at several batch sizes, one row each, and the same one step at a time.
class Bench {
 public:
  Bench(Session& session, const Task& task, std::int64_t training_batch, const InferBench& options)
      : session_(session),
        task_(task),
        unit_(task.data.task->unit()),
        batches_(unit_.count == 1 ? std::vector<std::int64_t>{1, 8, 32, 256}
                                  : std::vector<std::int64_t>{1, training_batch}),
        options_(options),
        peaks_(measure_peaks()),
        tuning_(options.tune),
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
                       "decoded: weights that a kernel needs whole.\n"
                    << capitalized(peaks_.text()) << ".\n"
                    << kUnstableNote << ".\n";
    table_.print(session_.text());
    session_.json()["peak_gflops"] = peaks_.flops;
    session_.json()["peak_byte_gops"] = peaks_.byte_ops;
    for (const auto& [title, table] : layers_) {
      session_.text() << "\n" << title << ":\n";
      table.print(session_.text());
    }
    if (!options_.tune.empty()) print_tuning(session_.text(), tuning_, options_.tune);
    tuning_.save();
  }
  // The same network three ways, at every batch.
  void add_layers(const std::string& name, const Model& dense, const Model& packed) {
    for (const std::int64_t batch : batches_) {
      const LayerTimes layers(three_ways(dense, packed, batch, compile_options(batch, false)),
                              peaks_);
      layers_.emplace_back(cat(name, ", batch ", batch, ", by layers, least"), layers.table());
      session_.json()["layers"].push_back(
          {{"model", name}, {"batch", batch}, {"layers", layers.json()}});
    }
  }

 private:
  CompileOptions compile_options(std::int64_t batch, bool int8) {
    CompileOptions out{.batch = batch, .int8 = int8};
    if (!options_.tune.empty()) out.choice = &tuning_;
    return out;
  }

  void time(const std::string& name, const Model& model, std::int64_t units) {
    for (const std::int64_t batch : batches_) {
      std::int64_t values = 0;
      for (const Field& field : fields_of(model.graph, name)) values += field.sample.numel();
      if (batch * values > kMostValues) break;
      std::vector<Timing> rounds;
      Latency last;
      for (int r = 0; r < options_.repeat; ++r) {
        last = measure_latency(model, compile_options(batch, options_.int8));
        rounds.push_back(last.us);
      }
      const Timing us = together(rounds);
      const double gbps = measure_read_gbps(last.weight_bytes);
      const double floor = floor_us(last.work, peaks_.rate(last.kernels), gbps);
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
  InferBench options_;
  Peaks peaks_;
  Tuning tuning_;
  Table table_;
  std::vector<std::pair<std::string, Table>> layers_;
};

}  // namespace

void bench_inference(Session& session, const Task& task, const Recipes& recipes,
                     const std::optional<Model>& model, const std::vector<std::string>& codebooks,
                     const InferBench& options) {
  Bench bench(session, task, recipes.train.batch, options);
  if (model) {
    const Model decoded = quant::decoded(*model);
    bench.add("decoded", decoded);
    bench.add("packed", *model);
    if (options.layers) bench.add_layers("packed", decoded, *model);
  } else {
    const CompressRecipe& recipe = recipes.compress;
    nn::Trainer trainer = make_trainer(task, recipe.trainer(kSeed));
    const Model dense = nn::inference_model(trainer);
    bench.add("f32", dense);
    for (const auto& codebook : codebooks) {
      const auto plan = quant::plan_compression(trainer.parameters(), trainer.state(),
                                                recipe.policy(codebook, 0));
      const auto direct = quant::compressed(trainer, plan, quant::direct_compression());
      const Model packed = quant::harden(trainer, direct);
      bench.add(codebook, packed);
      if (options.layers) bench.add_layers(codebook, dense, packed);
    }
  }
  bench.print();
}

}  // namespace tessera::apps
