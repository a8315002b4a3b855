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

// Replaces the file by the concatenation of `pieces`: written to a new file of a name of its own in
// the same folder (.tessera-<16 digits>.tmp), flushed to the disk, renamed over the target, and the
// folder flushed. Whatever happens, PATH holds its old content or all of the new; the new file is
// removed on failure, and one left by a killed process by the next write in that folder. Of
// concurrent writers of one path the last wins. A symbolic link is followed, the mode of an
// existing file is kept; a device, a pipe and what stdout or stderr lead to are written to
// directly, behind what is there. Throws Error with the path and the system's message (disk full,
// no permission, no such folder).
void write_file(const std::filesystem::path& path,
                std::span<const std::span<const std::byte>> pieces);
void write_file(const std::filesystem::path& path, std::string_view content);

// A regular file, read from its beginning through one descriptor: what was checked is what is used.
class InputFile {
 public:
  // Throws Error when it cannot be opened, or is a folder, a device, a pipe or a socket.
  explicit InputFile(const std::filesystem::path& path);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  std::int64_t size() const { return size_; }  // bytes, when it was opened
  // The first bytes (fewer when it is shorter), valid until the next call.
  std::string_view head(std::int64_t bytes);
  // All of it. Throws Error when that is more than max_bytes.
  std::string all(std::int64_t max_bytes = kMaxFileBytes);

 private:
  std::filesystem::path path_;
  int fd_;
  std::int64_t size_ = 0;
  std::string content_;  // what has been read
};

// The whole of a regular file, or of a pipe without a name such as <(...) gives. Throws Error when
// it cannot be read or has more than max_bytes bytes.
std::string read_file(const std::filesystem::path& path, std::int64_t max_bytes = kMaxFileBytes);

// Whether there is something of this name. Throws Error when the system cannot tell (no permission,
// a name that is too long).
bool file_exists(const std::filesystem::path& path);

// Where a path ends up when it is a symbolic link: the first name that is none, there or not.
// Throws Error for a ring of links.
std::filesystem::path follow_links(const std::filesystem::path& path);

// While it lives, others that take the lock of this folder wait. Folders on file systems without
// locks are not locked.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int fd_;
};

}  // namespace tessera
