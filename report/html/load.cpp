// From a folder of results to a report's data.
#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "core/files/atomic_file.h"
#include "experiment/task.h"
#include "report/html/report.h"

namespace tessera::experiment {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxHistograms = 1 << 28;
constexpr const char* kLogEnd = ".log.jsonl";

std::int64_t integer_or(const Config& config, const std::string& key, std::int64_t otherwise) {
  const auto found = config.find(key);
  if (found == config.end()) return otherwise;
  std::int64_t out = otherwise;
  std::from_chars(found->second.data(), found->second.data() + found->second.size(), out);
  return out;
}

double number_or(const Config& config, const std::string& key, double otherwise) {
  const auto found = config.find(key);
  if (found == config.end()) return otherwise;
  double out = otherwise;
  std::from_chars(found->second.data(), found->second.data() + found->second.size(), out);
  return out;
}

std::string text_or(const Config& config, const std::string& key, const std::string& otherwise) {
  const auto found = config.find(key);
  return found == config.end() ? otherwise : found->second;
}

// `name` without `end` and the '-' before it: what all files of one network start with.
std::string prefix_of(const std::string& name, const std::string& end) {
  if (!name.ends_with(end)) return name;
  std::string out = name.substr(0, name.size() - end.size());
  if (out.ends_with('-')) out.pop_back();
  return out;
}

RunDetails details_of(const fs::path& folder, const std::string& name, Report& report) {
  RunDetails out;
  const auto attempt = [&](auto&& read) {
    try {
      read();
    } catch (const Error& error) {
      report.problems.push_back(error.what());
    }
  };
  attempt([&] { out.curves = read_run_log(folder / (name + kLogEnd)); });
  attempt([&] { out.histograms = read_histograms(folder / (name + ".histograms.json")); });
  if (out.curves.unreadable_lines > 0) {
    report.problems.push_back(cat(name, ".log.jsonl: ", out.curves.unreadable_lines,
                                  " lines cannot be read, as a killed run leaves them"));
  }
  return out;
}

// Codebooks by their number of entries, methods as they are listed, others behind.
auto order_of(const ComparedRun& run) {
  std::int64_t k = 1 << 20;
  const std::size_t colon = run.variant.codebook.find(':');
  if (colon != std::string::npos) {
    const std::string& text = run.variant.codebook;
    std::from_chars(text.data() + colon + 1, text.data() + text.size(), k);
  }
  const auto methods = quant::method_names();
  const auto method = std::find(methods.begin(), methods.end(), run.variant.method);
  return std::tuple(k, run.variant.codebook, run.variant.group_rows, method - methods.begin(),
                    run.variant.method, run.seed);
}

struct Loaded {
  NetworkReport network;
  std::vector<std::pair<ComparedRun, RunDetails>> runs;
};

void add(std::map<std::string, Loaded>& networks, const StoredRun& stored, const fs::path& file,
         Report& report) {
  const Config& config = stored.config;
  const std::int64_t seed = integer_or(config, "seed", 0);
  const auto network = [&](const std::string& prefix) -> Loaded& {
    Loaded& out = networks[prefix];
    out.network.prefix = prefix;
    if (out.network.title.empty()) {
      out.network.title = text_or(config, "network", prefix.empty() ? "network" : prefix);
    }
    return out;
  };
  if (!config.contains("method")) {
    // Older versions kept what bit allocation measured under the name of a result.
    if (stored.result.is_null() || config.contains("sensitivity")) return;
    const JsonAt result(stored.result, file.string());
    const auto bytes = result.find("weights_bytes"), made = result.find("environment");
    network(prefix_of(stored.name, cat("reference-s", seed)))
        .network.references.push_back({stored.name, seed, Measured::parse(result).metric(),
                                       bytes ? bytes->integer(0) : 0, config,
                                       made ? std::optional(Machine::parse(*made)) : std::nullopt,
                                       details_of(file.parent_path(), stored.name, report)});
    return;
  }
  ComparedRun run;
  run.name = stored.name;
  run.variant = {text_or(config, "method", ""), text_or(config, "codebook", ""),
                 integer_or(config, "group_rows", 0), number_or(config, "sparse", 0)};
  run.seed = seed;
  run.config = config;
  run.problem = stored.problem;
  if (stored.problem.empty()) run.result = Compression::parse(stored.result, file.string());
  network(prefix_of(stored.name, cat(run.variant.slug(), "-s", seed)))
      .runs.emplace_back(std::move(run), details_of(file.parent_path(), stored.name, report));
}

// A log without a result: of a run that was interrupted, or is still at work.
void add_unfinished(std::map<std::string, Loaded>& networks, const fs::path& folder,
                    const std::string& name, Report& report) {
  RunDetails details = details_of(folder, name, report);
  const LoggedRun& log = details.curves.run;
  const std::string how_far = log.epochs > 0 ? cat("not finished: ", short_number(log.epoch),
                                                   " of ", short_number(log.epochs), " epochs done")
                                             : "not finished: no epoch done";
  if (log.method.empty()) {
    report.problems.push_back(cat(name, ": ", how_far));
    return;
  }
  ComparedRun run;
  run.name = name;
  run.variant = {log.method, log.codebook, log.group_rows, log.sparse};
  run.seed = log.seed;
  run.problem = how_far;
  run.unfinished = true;
  const std::string prefix = prefix_of(name, cat(run.variant.slug(), "-s", run.seed));
  Loaded& loaded = networks[prefix];
  loaded.network.prefix = prefix;
  if (loaded.network.title.empty()) loaded.network.title = prefix.empty() ? "network" : prefix;
  loaded.runs.emplace_back(std::move(run), std::move(details));
}

std::vector<double> counts_of(const JsonAt& at) {
  std::vector<double> out = at.numbers();
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] < 0) at.item(i).fail("expected a count");
  }
  return out;
}

}  // namespace

std::vector<TensorHistogram> read_histograms(const fs::path& file) {
  std::vector<TensorHistogram> out;
  if (!file_exists(file)) return out;
  const Json root = parse_json(read_file(file, kMaxHistograms), file.string());
  const JsonAt document(root, file.string());
  check(document.at("format").text() == "tessera.histograms", file.string(), ": no histograms");
  for (const JsonAt& at : document.at("tensors").items()) {
    TensorHistogram h;
    h.name = at.at("name").text();
    h.shape = at.at("shape").text();
    h.low = at.at("low").number();
    h.high = at.at("high").number();
    if (!(h.low < h.high)) at.at("high").fail("expected more than low");
    h.reference = counts_of(at.at("reference"));
    h.after = counts_of(at.at("after"));
    if (h.reference.empty() || h.reference.size() != h.after.size()) {
      at.at("after").fail("expected as many bins as in reference, at least one");
    }
    h.k = at.at("k").integer(1);
    h.groups = at.at("groups").integer(1);
    if (const auto entries = at.find("entries")) {
      h.entries = entries->numbers();
      h.counts = counts_of(at.at("counts"));
      if (h.counts.size() != h.entries.size()) {
        at.at("counts").fail("expected one for each of ", h.entries.size(), " entries");
      }
    }
    if (const auto decoded = at.find("decoded")) h.decoded = counts_of(*decoded);
    out.push_back(std::move(h));
  }
  return out;
}

Report load_report(const fs::path& folder, const std::vector<std::string>& names) {
  check(fs::is_directory(folder), folder.string(), ": is no folder");
  Report report;
  report.folder = (folder / "").lexically_normal().parent_path().filename().string();
  std::vector<fs::path> files;
  std::vector<std::string> unfinished;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    const std::string extension = path.extension().string(), name = path.stem().string();
    if (path.filename().string().ends_with(kLogEnd)) {
      const std::string run = path.filename().string().substr(
          0, path.filename().string().size() - std::string_view(kLogEnd).size());
      const auto is_there = [&](const char* end) { return fs::exists(folder / (run + end)); };
      const bool wanted =
          names.empty() || std::find(names.begin(), names.end(), run) != names.end();
      if (wanted && !is_there(kResultExtension) && !is_there(kProblemExtension)) {
        unfinished.push_back(run);
      }
      continue;
    }
    if (extension != kResultExtension && extension != kProblemExtension) continue;
    if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) continue;
    // A process killed between two writes may leave both.
    if (extension == kProblemExtension && file_exists(folder / (name + kResultExtension))) continue;
    files.push_back(path);
  }
  check(!files.empty() || !unfinished.empty(), folder.string(), ": holds no results (NAME",
        kResultExtension, " as compress and compare write them)");
  std::sort(files.begin(), files.end());
  std::map<std::string, Loaded> networks;
  for (const fs::path& file : files) {
    try {
      add(networks, read_stored(file), file, report);
    } catch (const Error& error) {  // which names the file
      report.problems.push_back(error.what());
      ++report.damaged;
    }
  }
  check(report.damaged == 0 || !networks.empty() || !unfinished.empty(), folder.string(),
        ": no result can be read: ", report.damaged == 0 ? "" : report.problems.front());
  std::sort(unfinished.begin(), unfinished.end());
  for (const std::string& name : unfinished) add_unfinished(networks, folder, name, report);
  for (auto& [prefix, loaded] : networks) {
    std::sort(loaded.runs.begin(), loaded.runs.end(),
              [](const auto& a, const auto& b) { return order_of(a.first) < order_of(b.first); });
    NetworkReport& network = loaded.network;
    std::sort(network.references.begin(), network.references.end(),
              [](const auto& a, const auto& b) { return a.seed < b.seed; });
    for (auto& [run, details] : loaded.runs) {
      network.runs.push_back(std::move(run));
      network.details.push_back(std::move(details));
    }
    report.networks.push_back(std::move(network));
  }
  return report;
}

}  // namespace tessera::experiment
