// Whole files: read with a cap, written so that a crash leaves the old content or the new.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace tessera {

inline constexpr std::int64_t kMaxFileBytes = std::int64_t{1}
                                              << 36;  // what readers take by default

// Replaces the file by the concatenation of `pieces`: written to PATH.tmp beside it, flushed to the
// disk, renamed over the target, and the folder flushed. Whatever happens, PATH holds its old
// content or all of the new; PATH.tmp is removed on failure, and one left by a killed process is
// replaced by the next write. Concurrent writers of one path take turns. A symbolic link is
// followed, the mode of an existing file is kept, a device or a pipe is written to directly.
// Throws Error with the path and the system's message (disk full, no permission, no such folder).
void write_file(const std::filesystem::path& path,
                std::span<const std::span<const std::byte>> pieces);
void write_file(const std::filesystem::path& path, std::string_view content);

// The whole file. Throws Error when it cannot be read or has more than max_bytes bytes.
std::string read_file(const std::filesystem::path& path, std::int64_t max_bytes = kMaxFileBytes);

// The first bytes of a regular file (fewer when it is shorter) and the size of the whole in bytes.
struct FileHead {
  std::string bytes;
  std::int64_t file_bytes = 0;
};
FileHead read_file_head(const std::filesystem::path& path, std::int64_t bytes);

}  // namespace tessera
