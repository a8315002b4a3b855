// Checkpoints: the state of a training run in one safetensors file, with what is needed to go on.
//
// The file's metadata holds `format`, `version`, `epoch`, `step`, `seed`, `config` and `extra`
// (JSON objects of text), `config_sha256` and `checksum`: the SHA-256 of the file with the 64
// digits of the checksum itself replaced by '0'. A process killed at any moment of saving leaves
// the old checkpoint or the new one, whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/state.h"

namespace tessera {

using Config = std::map<std::string, std::string>;  // setting -> value, as printed

struct CheckpointInfo {
  std::int64_t epoch = 0;  // finished epochs
  std::int64_t step = 0;   // finished steps of the epoch after those
  std::uint64_t seed = 0;
  Config config = {};
  std::map<std::string, std::string> extra = {};  // whatever else the trainer keeps
};

struct Checkpoint {
  State state;
  CheckpointInfo info;
};

// Atomic (see write_file). Throws Error when the file cannot be written.
void save_checkpoint(const std::filesystem::path& path, const State& state,
                     const CheckpointInfo& info);

// Throws Error for a file that cannot be read, is no checkpoint, or fails its checksum (one byte
// changed or missing is enough).
Checkpoint load_checkpoint(const std::filesystem::path& path);
// The same from memory; `file` is the name for messages.
Checkpoint parse_checkpoint(std::string bytes, const std::string& file);

// SHA-256 of the settings in canonical form.
std::string config_sha256(const Config& config);

// One line "key: was X, now Y" per difference, by key ("key: was X, now not set" and the reverse).
std::vector<std::string> diff_config(const Config& saved, const Config& now);

// Throws Error listing the differences when a run must not go on from `saved` under `now`.
void require_same_config(const std::filesystem::path& path, const Config& saved, const Config& now);

}  // namespace tessera
