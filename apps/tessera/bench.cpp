// tessera bench: how long a model takes on made-up inputs, and what memory.
#include <iostream>
#include <optional>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "apps/tessera/write_json.h"
#include "core/parallel.h"
#include "experiment/machine.h"
#include "experiment/recipe.h"
#include "ops/load.h"
#include "quant/pack/decoded.h"
#include "report/layer_table.h"
#include "report/table.h"
#include "report/tuning_text.h"
#include "timing/latency.h"

namespace tessera::apps {

namespace {

struct BenchOptions {
  std::vector<std::int64_t> batches;
  CompileOptions compile;
  int repeat = 3;  // measurements of each batch
};

Json measure(const std::string& name, const Model& model, BenchOptions options, Table& table) {
  Json rows = Json::array();
  for (const std::int64_t batch : options.batches) {
    options.compile.batch = batch;
    std::vector<Timing> rounds;
    Latency last;
    for (int r = 0; r < options.repeat; ++r) {
      last = measure_latency(model, options.compile);
      rounds.push_back(last.us);
    }
    const Timing us = together(rounds);
    const double rate = 1e6 * static_cast<double>(batch) / us.least;
    table.add({name, std::to_string(batch), std::to_string(last.threads), least_text(us, 2),
               fixed(us.median, 2), fixed(rate, 0), fixed(last.flops / us.least / 1e3, 1),
               std::to_string(last.weight_bytes),
               std::to_string(last.memory.arena + last.memory.scratch), last.kernels,
               std::to_string(last.decoded.size())});
    rows.push_back({{"model", name},
                    {"batch", batch},
                    {"threads", last.threads},
                    {"least_us", us.least},
                    {"median_us", us.median},
                    {"unstable", us.unstable()},
                    {"samples_per_second", rate},
                    {"flops", last.flops},
                    {"bytes", last.bytes},
                    {"weight_bytes", last.weight_bytes},
                    {"arena_bytes", last.memory.arena},
                    {"scratch_bytes", last.memory.scratch},
                    {"kernel", last.kernels},
                    {"decoded", last.decoded}});
  }
  return rows;
}

}  // namespace

int bench_command(const std::vector<std::string>& args) {
  if (!args.empty() && args.front() == "kernels")
    return bench_kernels_command({args.begin() + 1, args.end()});
  BenchOptions bench;
  std::string batches = "1,8,32", compute = "f32", tune, json;
  bool dense = false, by_layers = false;
  FlagList options("options");
  auto add = options.add_options();
  add("batch", text_flag(batches, "LIST"), "samples at once, or several: 1,8,32");
  add("threads", flag(bench.compile.threads), "of a run; 0: as the machine has");
  add("compute", text_flag(compute, "f32|bf16|int8"),
      "bf16: of convolutions; int8: of what has codebooks");
  add("repeat", flag(bench.repeat), "measurements of each batch, some quarter of a second each");
  add("decoded", on_flag(dense), "also with every codebook as the weights it stands for");
  add("layers", on_flag(by_layers),
      "also layer by layer: decoded, exact and in integers, with floors");
  add("tune", text_flag(tune, "FILE"),
      "with the fastest kernels as measured here, kept in FILE for the next time");
  add("json", text_flag(json, "FILE"), "write the same as JSON; - is stdout");
  const auto files = parse_flags(
      args,
      {"tessera bench FILE.json [options]",
       "Runs a model on made-up inputs, caches hot, and says how long it takes and what memory. "
       "Training steps and untrained networks are timed by 'mnist bench' and its like, kernels by "
       "'tessera bench kernels'.",
       1,
       1,
       "one model file",
       {"tessera bench MODEL.json", "tessera bench MODEL.json --batch 1,64 --threads 1 --decoded",
        "tessera bench MODEL.json --compute int8 --json -",
        "tessera bench MODEL.json --layers --batch 1"}},
      options);
  if (!files) return kExitDone;
  bench.batches = integer_list(batches, "--batch", 1, 1 << 20);
  check_range("--threads", bench.compile.threads, 0, kMaxThreads);
  check_range("--repeat", bench.repeat, 1, 1000);
  bench.compile.int8 = compute == "int8";
  if (!bench.compile.int8)
    bench.compile.bf16 = naming("--compute", [&] { return compute_types().parse(compute); });
  const Model model = load(files->front());
  std::ostream& out = json == "-" ? std::cerr : std::cout;
  if (bench.compile.threads > 0) set_num_threads(bench.compile.threads);
  const Machine machine = this_machine();
  Table table({"model", "batch", "threads", "least us", "median us", "samples/s", "GFLOP/s",
               "weight bytes", "working bytes", "kernel", "decoded"},
              2);
  Tuning tuning(tune);
  if (!tune.empty()) bench.compile.choice = &tuning;
  std::optional<Model> decoded;
  if (dense || by_layers) decoded = quant::decoded(model);
  Json rows = measure("as stored", model, bench, table);
  if (dense) {
    for (Json& row : measure("decoded", *decoded, bench, table)) rows.push_back(std::move(row));
  }
  out << "measured on " << machine.text() << "\nby " << machine.command
      << "\nweights as the kernels keep them; working: activations and scratch of a run; decoded: "
         "weights that a kernel needs whole\n"
      << kUnstableNote << "\n";
  table.print(out);
  Json layers = Json::array();
  if (by_layers) {
    const Peaks peaks = measure_peaks();
    for (const std::int64_t batch : bench.batches) {
      const LayerTimes times(three_ways(*decoded, model, batch, bench.compile), peaks);
      out << "\nbatch " << batch << ", by layers, least; " << peaks.text() << "\n";
      times.table().print(out);
      layers.push_back({{"batch", batch}, {"layers", times.json()}});
    }
  }
  if (!tune.empty()) print_tuning(out, tuning, tune);
  tuning.save();
  if (!json.empty())
    write_json(json, {{"inference", rows},
                      {"layers", layers},
                      {"compute", compute},
                      {"environment", machine.json()}});
  return kExitDone;
}

}  // namespace tessera::apps
