// tessera verify: the packed run against the decoded reference.
#include <iomanip>
#include <iostream>
#include <limits>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "apps/tessera/write_json.h"
#include "core/files/json_io.h"
#include "core/parallel.h"
#include "ops/load.h"
#include "quant/pack/packed_check.h"

namespace tessera::apps {

namespace {

void print(const quant::PackedCheck& result, std::ostream& out) {
  std::size_t width = 20;
  for (const auto& list : {result.layers, result.outputs}) {
    for (const auto& item : list) width = std::max(width, printable(item.name).size() + 2);
  }
  const auto row = [&](const auto& name, const auto& type, const auto& difference,
                       const auto& reference) {
    out << std::left << std::setw(static_cast<int>(width) + 8) << name << std::setw(18) << type
        << std::right << std::setw(18) << difference << std::setw(18) << reference << "\n";
  };
  row("", "type", "max difference", "max reference");
  out << std::scientific << std::setprecision(3);
  for (const auto& item : result.layers) {
    row("layer  " + printable(item.name), item.type, item.max_difference, item.max_reference);
  }
  for (const auto& item : result.outputs) {
    row("output " + printable(item.name), item.type, item.max_difference, item.max_reference);
  }
  for (const std::string& line : result.decoded) out << "DECODED " << line << "\n";
}

Json json_of(const std::vector<quant::PackedDifference>& list) {
  Json out = Json::array();
  for (const auto& item : list) {
    const bool finite = item.max_difference <= std::numeric_limits<double>::max();
    out.push_back({{"name", item.name},
                   {"type", item.type},
                   {"max_difference", finite ? Json(item.max_difference) : Json("infinite")},
                   {"max_reference", item.max_reference}});
  }
  return out;
}

}  // namespace

int verify_command(const std::vector<std::string>& args) {
  quant::PackedCheckOptions check_options;
  double tolerance = 1e-4;
  std::string json;
  FlagList options("options");
  auto add = options.add_options();
  add("batch", flag(check_options.batch), "samples at once");
  add("threads", flag(check_options.threads), "threads of the plan; 0: as the machine has");
  add("seed", flag(check_options.seed), "of the inputs, uniform in [-1, 1)");
  add("tolerance", flag(tolerance, "X"), "largest absolute difference allowed");
  add("max-operations", flag(check_options.max_operations, "X"),
      "of the reference; by default 10^9 and a thousand for each weight, for each sample");
  add("packed-only", on_flag(check_options.packed_only), "decoding a whole tensor is an error");
  add("json", text_flag(json, "FILE"), "write the same as JSON; - is stdout");
  const auto files = parse_flags(
      args,
      {"tessera verify FILE.json [options]",
       "Runs a model packed and decoded and compares, layer by layer.",
       1,
       1,
       "one model file",
       {"tessera verify MODEL.json", "tessera verify MODEL.json --batch 32 --packed-only"}},
      options);
  if (!files) return kExitDone;
  const std::string& file = files->front();
  check_range("--batch", static_cast<double>(check_options.batch), 1, 1 << 20);
  check_range("--threads", static_cast<double>(check_options.threads), 0, kMaxThreads);
  check_range("--tolerance", tolerance, 0, 1e9);
  check_range("--max-operations", check_options.max_operations, 0, 1e18);
  const Model model = load(file);
  const quant::PackedCheck result = quant::verify(model, check_options);
  std::ostream& out = json == "-" ? std::cerr : std::cout;
  print(result, out);
  const bool good = result.worst() <= tolerance;
  if (!json.empty()) {
    const Json all = {{"layers", json_of(result.layers)},
                      {"outputs", json_of(result.outputs)},
                      {"decoded", result.decoded},
                      {"tolerance", tolerance},
                      {"good", good}};
    write_json(json, all);
  }
  check(good, file, ": the packed run differs from the reference by ", result.worst(),
        ", more than ", tolerance);
  out << "worst difference " << result.worst() << ", within " << tolerance << "\n";
  return kExitDone;
}

}  // namespace tessera::apps
