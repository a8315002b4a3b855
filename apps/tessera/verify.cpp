// tessera verify: the packed run against the decoded reference.
#include <iomanip>
#include <iostream>
#include <limits>

#include "apps/common/cli.h"
#include "apps/common/options.h"
#include "apps/common/packed_check.h"
#include "apps/tessera/commands.h"
#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "ops/load.h"

namespace tessera::apps {

namespace po = boost::program_options;

namespace {

void print(const PackedCheck& result) {
  std::size_t width = 20;
  for (const auto& list : {result.layers, result.outputs}) {
    for (const auto& item : list) width = std::max(width, item.name.size() + 2);
  }
  const auto row = [&](const auto& name, const auto& type, const auto& difference,
                       const auto& reference) {
    std::cout << std::left << std::setw(static_cast<int>(width) + 8) << name << std::setw(18)
              << type << std::right << std::setw(18) << difference << std::setw(18) << reference
              << "\n";
  };
  row("", "type", "max difference", "max reference");
  std::cout << std::scientific << std::setprecision(3);
  for (const auto& item : result.layers) {
    row("layer  " + item.name, item.type, item.max_difference, item.max_reference);
  }
  for (const auto& item : result.outputs) {
    row("output " + item.name, item.type, item.max_difference, item.max_reference);
  }
  for (const std::string& line : result.decoded) std::cout << "DECODED " << line << "\n";
}

Json json_of(const std::vector<PackedDifference>& list) {
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
  po::options_description options("options");
  options.add_options()("file", po::value<std::string>()->required(), "the model, NAME.json")(
      "batch", po::value<std::int64_t>()->default_value(1), "samples at once")(
      "threads", po::value<int>()->default_value(0), "threads of the plan; 0: as the machine has")(
      "seed", po::value<std::uint64_t>()->default_value(1), "of the inputs, uniform in [-1, 1)")(
      "tolerance", po::value<double>()->default_value(1e-4), "largest absolute difference allowed")(
      "packed-only", "decoding a whole tensor is an error")("json", po::value<std::string>(),
                                                            "write the same as JSON to this file");
  const auto values = parse_options("tessera verify FILE.json [options]", options, args, "file");
  if (!values) return kExitDone;
  const std::string file = (*values)["file"].as<std::string>();
  const double tolerance = (*values)["tolerance"].as<double>();
  const Model model = load(file);
  const PackedCheck result = check_packed(model, {.batch = (*values)["batch"].as<std::int64_t>(),
                                                  .threads = (*values)["threads"].as<int>(),
                                                  .packed_only = values->count("packed-only") > 0,
                                                  .seed = (*values)["seed"].as<std::uint64_t>()});
  print(result);
  const bool good = result.worst() <= tolerance;
  if (values->count("json")) {
    const Json all = {{"layers", json_of(result.layers)},
                      {"outputs", json_of(result.outputs)},
                      {"decoded", result.decoded},
                      {"tolerance", tolerance},
                      {"good", good}};
    write_file((*values)["json"].as<std::string>(), json_text(all, 1) + "\n");
  }
  check(good, file, ": the packed run differs from the reference by ", result.worst(),
        ", more than ", tolerance);
  std::cout << "worst difference " << result.worst() << ", within " << tolerance << "\n";
  return kExitDone;
}

}  // namespace tessera::apps
