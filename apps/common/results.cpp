#include "apps/common/results.h"

#include "core/files/atomic_file.h"

namespace tessera::apps {

namespace {

constexpr const char* kFormat = "tessera.result";
constexpr std::int64_t kMaxBytes = 1 << 24;

}  // namespace

std::filesystem::path Results::path(const std::string& name) const {
  return folder_ / (name + ".result");
}

std::optional<Json> Results::find(const std::string& name, const Config& config) const {
  const auto file = path(name);
  if (!reuse_ || !std::filesystem::exists(file)) return std::nullopt;
  const Json root = parse_json(read_file(file, kMaxBytes), file.string());
  const JsonAt document(root, file.string());
  check(document.at("format").text() == kFormat, file.string(), ": is no stored result");
  Config saved;
  for (const auto& [key, value] : document.at("config").fields()) saved[key] = value.text();
  check(config_sha256(saved) == document.at("config_sha256").text(), file.string(),
        ": the configuration does not have its SHA-256");
  require_same_config(file, saved, config);
  return document.at("result").value();
}

void Results::store(const std::string& name, const Config& config, const Json& result) const {
  const Json root = {{"format", kFormat},
                     {"config", config},
                     {"config_sha256", config_sha256(config)},
                     {"result", result}};
  write_file(path(name), json_text(root, 1) + "\n");
}

}  // namespace tessera::apps
