// tessera bench kernels: every kernel that serves an operator, timed beside its floor.
#include <algorithm>
#include <iostream>
#include <limits>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "apps/tessera/kernel_cases.h"
#include "apps/tessera/write_json.h"
#include "core/compile.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/text.h"
#include "experiment/machine.h"
#include "report/layer_table.h"
#include "report/table.h"
#include "timing/peak.h"
#include "timing/row_trial.h"

namespace tessera::apps {

namespace {

struct KernelBench {
  std::vector<std::int64_t> bits, batches;
  bool cold = false, all = false;
  double seconds = 0.05;  // of each row
  int threads = 0;
};

struct RowTime {
  std::string row;
  double hot = 0, cold = 0;  // seconds
  double flops = 0;
  std::int64_t bytes = 0;
};

// Times every row that serves the nodes of one op, and takes the first, as without it.
class Recorder : public RowChoice {
 public:
  Recorder(std::string_view op, const KernelBench& bench) : op_(op), bench_(bench) {}

  std::size_t choose(const KernelQuery& query, std::span<const RowCandidate> rows) override {
    constexpr double kLong = 2e9;  // operations; plain loops do one in a nanosecond
    if (query.node.op().name != op_) return 0;
    std::vector<const RowCandidate*> timed;
    std::vector<RowTrial> trials;
    trials.reserve(rows.size());
    for (const RowCandidate& candidate : rows) {
      if (candidate.row->needs == kScalar && candidate.plan.flops > kLong && rows.size() > 1)
        continue;
      timed.push_back(&candidate);
      trials.emplace_back(query, candidate.plan);
    }
    const auto hot = least_seconds(trials, false, 3, bench_.seconds);
    const auto cold = bench_.cold ? least_seconds(trials, true, 3, bench_.seconds)
                                  : std::vector<double>(trials.size());
    for (std::size_t i = 0; i < trials.size(); ++i) {
      times.push_back({std::string(timed[i]->row->name), hot[i], cold[i], timed[i]->plan.flops,
                       trials[i].bytes()});
    }
    stop_if_interrupted();
    return 0;
  }

  std::vector<RowTime> times;

 private:
  std::string_view op_;
  const KernelBench& bench_;
};

Json measure(const KernelCase& kernel, const KernelBench& bench, const Peaks& peaks, Table& table) {
  Json rows = Json::array();
  for (const std::int64_t batch : bench.batches) {
    for (const std::int64_t bits : bench.bits) {
      Recorder recorder(kernel.op, bench);
      const Graph graph = kernel.build(kernel, batch, static_cast<int>(bits));
      // Both kinds of rows serve it then.
      compile(graph, {.threads = bench.threads, .int8 = bits > 0, .choice = &recorder});
      double best = std::numeric_limits<double>::infinity();
      for (const RowTime& time : recorder.times) best = std::min(best, time.hot);
      for (const RowTime& time : recorder.times) {
        if (!bench.all && time.hot > 10 * best) continue;
        const double floor =
            std::max(time.flops / peaks.rate(time.row),
                     static_cast<double>(time.bytes) / measure_read_gbps(time.bytes)) /
            1e9;
        std::vector<std::string> cells = {kernel.name, std::to_string(batch),
                                          bits ? std::to_string(bits) : "f32", time.row,
                                          fixed(1e6 * time.hot, 1)};
        if (bench.cold) cells.push_back(fixed(1e6 * time.cold, 1));
        cells.push_back(fixed(time.flops / time.hot / 1e9, 1));
        cells.push_back(fixed(1e6 * floor, 1));
        cells.push_back(fixed(100 * floor / time.hot, 0));
        cells.push_back(std::to_string(time.bytes));
        table.add(std::move(cells));
        rows.push_back({{"case", kernel.name},
                        {"op", kernel.op},
                        {"batch", batch},
                        {"bits", bits},
                        {"row", time.row},
                        {"hot_us", 1e6 * time.hot},
                        {"cold_us", bench.cold ? Json(1e6 * time.cold) : Json()},
                        {"floor_us", 1e6 * floor},
                        {"flops", time.flops},
                        {"bytes", time.bytes}});
      }
    }
  }
  return rows;
}

}  // namespace

int bench_kernels_command(const std::vector<std::string>& args) {
  KernelBench bench;
  std::string bits = "0,2,4,8", batches = "1,32", json;
  FlagList options("options");
  auto add = options.add_options();
  add("bits", text_flag(bits, "LIST"), "of the codebooks, 1 to 8; 0: dense weights");
  add("batch", text_flag(batches, "LIST"), "samples at once");
  add("cold", on_flag(bench.cold), "also with operands that are in no cache");
  add("all", on_flag(bench.all), "also kernels that take more than ten times the best one's time");
  add("seconds", flag(bench.seconds), "for each kernel");
  add("threads", flag(bench.threads), "of a run; 0: as the machine has");
  add("json", text_flag(json, "FILE"), "write the same as JSON; - is stdout");
  auto shapes = parse_flags(
      args,
      {"tessera bench kernels [SHAPES...] [options]",
       "Times every kernel that serves an operator on this machine, exact and in integers, beside "
       "the operations and the bytes that it cannot do without. Of each batch and width those of "
       "integers stand first (a network takes them with --compute int8), and of either kind the "
       "first is what a network takes.\n"
       "SHAPES: squares (256 to 8192), odd, lstm, zoo (all its convolutions), a network of the "
       "zoo, "
       "OUTxIN, conv:C,OUT,SIZE,KERNEL,STRIDE[,GROUPS], lstm:UNITS,STEPS; without any 1024x1024, "
       "4096x4096, resnet20 and lstm:200,20.",
       0,
       1000,
       "shapes",
       {"tessera bench kernels", "tessera bench kernels squares --batch 1,8,32,128,512",
        "tessera bench kernels conv:64,128,56,3,2 mobilenet_v2 --bits 4 --cold"}},
      options);
  if (!shapes) return kExitDone;
  if (shapes->empty()) *shapes = {"1024x1024", "4096x4096", "resnet20", "lstm:200,20"};
  bench.bits = integer_list(bits, "--bits", 0, 8);
  bench.batches = integer_list(batches, "--batch", 1, 1 << 16);
  check_range("--threads", bench.threads, 0, kMaxThreads);
  check_range("--seconds", bench.seconds, 0, 60);
  std::vector<KernelCase> cases;
  for (const std::string& word : *shapes) {
    for (KernelCase& kernel : kernel_cases(word)) cases.push_back(std::move(kernel));
  }
  std::ostream& out = json == "-" ? std::cerr : std::cout;
  if (bench.threads > 0) set_num_threads(bench.threads);
  const Machine machine = this_machine();
  const Peaks peaks = measure_peaks();
  out << "measured on " << machine.text() << "\nby " << machine.command << "\n"
      << peaks.text() << "\n";
  Json rows = Json::array();
  for (const KernelCase& kernel : cases) {
    std::vector<std::string> header = {"case", "batch", "bits", "kernel", "hot us"};
    if (bench.cold) header.push_back("cold us");
    header.insert(header.end(), {"GFLOP/s", "floor us", "floor %", "bytes"});
    Table table(std::move(header), 4);
    for (Json& row : measure(kernel, bench, peaks, table)) rows.push_back(std::move(row));
    table.print(out);
    out << std::endl;
  }
  if (!json.empty())
    write_json(json, {{"kernels", rows},
                      {"peak_gflops", peaks.flops},
                      {"peak_byte_gops", peaks.byte_ops},
                      {"environment", machine.json()}});
  return kExitDone;
}

}  // namespace tessera::apps
