#include "core/files/checkpoint.h"

#include <charconv>
#include <cstring>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/files/safetensors.h"
#include "core/files/sha256.h"

namespace tessera {

namespace {

constexpr std::string_view kFormat = "tessera.checkpoint";
constexpr std::string_view kVersion = "1";
constexpr std::size_t kDigits = 64;
// A quote inside a JSON string is escaped, so in the header this can only be the metadata's key.
constexpr std::string_view kChecksumKey = "\"checksum\":\"";

const std::string& field(const TextMap& metadata, const char* key, const std::string& file) {
  const auto it = metadata.find(key);
  check(it != metadata.end(), file, ": the checkpoint's metadata has no '", key, "'");
  return it->second;
}

template <class T>
T parse_number(const TextMap& metadata, const char* key, const std::string& file) {
  const std::string& text = field(metadata, key, file);
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size() && value >= T{0}, file,
        ": metadata '", key, "': expected a number of 0 or more, got ", quote(text));
  return value;
}

std::map<std::string, std::string> parse_texts(const TextMap& metadata, const char* key,
                                               const std::string& file) {
  const std::string place = cat(file, ": metadata '", key, "'");
  const Json json = parse_json(field(metadata, key, file), place);
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : JsonAt(json, place).fields()) out.emplace(name, value.text());
  return out;
}

}  // namespace

std::string config_sha256(const Config& config) {
  return sha256_hex(json_text(Json(config)));
}

void save_checkpoint(const std::filesystem::path& path, const State& state,
                     const CheckpointInfo& info) {
  const TextMap metadata = {
      {"format", std::string(kFormat)},
      {"version", std::string(kVersion)},
      {"epoch", std::to_string(info.epoch)},
      {"step", std::to_string(info.step)},
      {"seed", std::to_string(info.seed)},
      {"config", json_text(Json(info.config))},
      {"config_sha256", config_sha256(info.config)},
      {"extra", json_text(Json(info.extra))},
      {"checksum", std::string(kDigits, '0')},
  };
  SafetensorsImage image = make_safetensors(state.tensors(), metadata);
  const std::string checksum = image.sha256();
  const auto at = image.header.find(kChecksumKey);
  TESSERA_ASSERT(at != std::string::npos);
  image.header.replace(at + kChecksumKey.size(), kDigits, checksum);
  image.write(path);
}

Checkpoint parse_checkpoint(std::string bytes, const std::string& file) {
  Safetensors parsed = parse_safetensors(bytes, file);
  const TextMap& metadata = parsed.metadata;
  const auto format = metadata.find("format");
  check(format != metadata.end() && format->second == kFormat, file,
        ": this safetensors file is not a checkpoint");
  const std::string& version = field(metadata, "version", file);
  check(version == kVersion, file, ": checkpoint version ", quote(version),
        " is not supported, expected ", kVersion);

  const std::string& saved = field(metadata, "checksum", file);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto at = std::string_view(bytes).substr(0, 8 + length).find(kChecksumKey);
  check(at != std::string::npos && saved.size() == kDigits, file,
        ": the checksum is not where a checkpoint has it; was the file rewritten?");
  bytes.replace(at + kChecksumKey.size(), kDigits, kDigits, '0');
  const std::string computed = sha256_hex(bytes);
  check(saved == computed, file, ": the checkpoint is damaged: its checksum is ", printable(saved),
        ", its bytes give ", computed);

  Checkpoint out;
  out.info.epoch = parse_number<std::int64_t>(metadata, "epoch", file);
  out.info.step = parse_number<std::int64_t>(metadata, "step", file);
  out.info.seed = parse_number<std::uint64_t>(metadata, "seed", file);
  out.info.config = parse_texts(metadata, "config", file);
  out.info.extra = parse_texts(metadata, "extra", file);
  check(field(metadata, "config_sha256", file) == config_sha256(out.info.config), file,
        ": metadata 'config_sha256' does not match 'config'");
  for (auto& [name, tensor] : parsed.tensors) out.state.set(name, tensor);
  return out;
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  return parse_checkpoint(InputFile(path).all(), path.string());
}

std::vector<std::string> diff_config(const Config& saved, const Config& now) {
  std::map<std::string, std::pair<const std::string*, const std::string*>> both;
  for (const auto& [key, value] : saved) both[key].first = &value;
  for (const auto& [key, value] : now) both[key].second = &value;
  auto text = [](const std::string* value) { return value ? *value : std::string("not set"); };
  std::vector<std::string> out;
  for (const auto& [key, values] : both) {
    const auto& [was, is] = values;
    if (was && is && *was == *is) continue;
    out.push_back(cat(key, ": was ", text(was), ", now ", text(is)));
  }
  return out;
}

void require_same_config(const std::filesystem::path& path, const Config& saved,
                         const Config& now) {
  const auto changes = diff_config(saved, now);
  if (changes.empty()) return;
  std::string list;
  for (const auto& change : changes) list += (list.empty() ? "" : "; ") + printable(change);
  fail("cannot resume from ", path.string(), ": the configuration changed: ", list);
}

}  // namespace tessera
