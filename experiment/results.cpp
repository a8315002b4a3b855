#include "experiment/results.h"

#include "core/files/atomic_file.h"

namespace tessera::experiment {

namespace {

constexpr const char* kFormat = "tessera.result";
constexpr const char* kProblemFormat = "tessera.problem";
constexpr std::int64_t kMaxBytes = 1 << 24;

}  // namespace

std::filesystem::path Results::problem_path(const std::string& name) const {
  return folder_ / (name + kProblemExtension);
}

std::filesystem::path Results::path(const std::string& name) const {
  return folder_ / (name + extension_);
}

std::optional<Json> Results::find(const std::string& name, const Config& config) const {
  const auto file = path(name);
  if (existing_ == Existing::overwrite || !std::filesystem::exists(file)) return std::nullopt;
  const StoredRun saved = read_stored(file);
  if (existing_ == Existing::reuse) require_same_config(file, saved.config, config);
  const std::string changes = changes_text(saved.config, config);
  check(changes.empty(), file.string(), " is of other settings: ", changes,
        "; --name or --out keeps both, --overwrite replaces it");
  if (existing_ == Existing::repeat) return std::nullopt;
  return saved.result;
}

void Results::store(const std::string& name, const Config& config, const Json& result) const {
  const Json root = {{"format", kFormat},
                     {"config", config},
                     {"config_sha256", config_sha256(config)},
                     {"result", result}};
  write_file(path(name), json_text(root, 1) + "\n");
  std::error_code ignored;  // mostly there is none
  std::filesystem::remove(problem_path(name), ignored);
}

void Results::store_problem(const std::string& name, const Config& config,
                            const std::string& problem) const {
  const Json root = {{"format", kProblemFormat}, {"config", config}, {"problem", problem}};
  write_file(problem_path(name), json_text(root, 1) + "\n");
  std::error_code ignored;  // one of another configuration
  std::filesystem::remove(path(name), ignored);
}

std::string changes_text(const Config& was, const Config& now) {
  std::string out;
  for (const std::string& line : diff_config(was, now)) out += (out.empty() ? "" : "; ") + line;
  return out;
}

StoredRun read_stored(const std::filesystem::path& file) {
  const Json root = parse_json(read_file(file, kMaxBytes), file.string());
  const JsonAt document(root, file.string());
  const bool problem = file.extension() == kProblemExtension;
  const char* format = problem ? kProblemFormat : kFormat;
  check(document.at("format").text() == format, file.string(), ": expected the format '", format,
        "', got ", quote(document.at("format").text()));
  StoredRun out;
  out.name = file.stem().string();
  for (const auto& [key, value] : document.at("config").fields()) out.config[key] = value.text();
  check(problem || config_sha256(out.config) == document.at("config_sha256").text(), file.string(),
        ": the configuration does not have its SHA-256");
  if (problem) {
    out.problem = document.at("problem").text();
  } else {
    out.result = document.at("result").value();
  }
  return out;
}

}  // namespace tessera::experiment
