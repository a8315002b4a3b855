// Times of inference, dense and packed.
#include "apps/verbs/bench.h"
#include "core/text.h"
#include "experiment/task.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/pack/decoded.h"
#include "report/table.h"
#include "timing/latency.h"

namespace tessera::apps {

namespace {

constexpr std::uint64_t kSeed = 1;
constexpr std::int64_t kMostValues = std::int64_t{1} << 23;  // of an input; activations are more

void bench_model(Session& session, Table& table, const std::string& name, const Model& model,
                 int repeat, bool int8) {
  for (const std::int64_t batch : {1, 8, 32, 256}) {
    std::int64_t values = 0;
    for (const Field& field : fields_of(model.graph, name)) values += field.sample.numel();
    if (batch * values > kMostValues) break;
    std::vector<Timing> rounds;
    Latency last;
    for (int r = 0; r < repeat; ++r) {
      last = measure_latency(model, {.batch = batch, .int8 = int8});
      rounds.push_back(last.us);
    }
    const Timing us = together(rounds);
    table.add({name, std::to_string(batch), least_text(us, 2), fixed(us.median, 2),
               fixed(1e6 * static_cast<double>(batch) / us.least, 0), std::to_string(last.bytes),
               std::to_string(last.weight_bytes), fixed(last.flops / us.least / 1e3, 1),
               last.kernels, std::to_string(last.decoded.size())});
    session.json()["inference"].push_back({{"model", name},
                                           {"batch", batch},
                                           {"least_us", us.least},
                                           {"median_us", us.median},
                                           {"unstable", us.unstable()},
                                           {"bytes", last.bytes},
                                           {"weight_bytes", last.weight_bytes},
                                           {"flops", last.flops},
                                           {"kernel", last.kernels},
                                           {"decoded", last.decoded}});
  }
}

}  // namespace

void bench_inference(Session& session, const Task& task, const Recipes& recipes,
                     const std::optional<Model>& model, const std::vector<std::string>& codebooks,
                     int repeat, bool int8) {
  Table table({"model", "batch", "least us", "median us", "samples/s", "bytes moved",
               "weight bytes", "GFLOP/s", "kernel", "decoded"});
  if (model) {
    bench_model(session, table, "decoded", quant::decoded(*model), repeat, int8);
    bench_model(session, table, "packed", *model, repeat, int8);
  } else {
    const CompressRecipe& recipe = recipes.compress;
    nn::Trainer trainer = make_trainer(task, recipe.trainer(kSeed));
    bench_model(session, table, "f32", nn::inference_model(trainer), repeat, int8);
    for (const auto& codebook : codebooks) {
      const auto plan = quant::plan_compression(trainer.parameters(), trainer.state(),
                                                recipe.policy(codebook, 0));
      const auto direct = quant::compressed(trainer, plan, quant::direct_compression());
      bench_model(session, table, codebook, quant::harden(trainer, direct), repeat, int8);
    }
  }
  session.text() << "\nInference, caches hot, medians of rounds: the least and the median of "
                    "them; rates by the least.\nBytes moved: operands of all steps, each once; "
                    "decoded: weights that a kernel needs whole.\n"
                 << kUnstableNote << ".\n";
  table.print(session.text());
}

}  // namespace tessera::apps
