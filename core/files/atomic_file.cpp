#include "core/files/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"

namespace tessera {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_errno(const char* what, const fs::path& path) {
  const int code = errno;
  fail(what, " ", path.string(), ": ", std::generic_category().message(code));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

template <class Call>
auto retry(Call&& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

Descriptor open_file(const fs::path& path, int flags, mode_t mode = 0) {
  return Descriptor(retry([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); }));
}

void write_all(const Descriptor& file, std::span<const std::span<const std::byte>> pieces,
               const fs::path& path) {
  constexpr std::size_t kMost = std::size_t{1} << 30;  // write() takes at most about 2 GiB
  for (auto left : pieces) {
    while (!left.empty()) {
      const auto n =
          retry([&] { return ::write(file.get(), left.data(), std::min(left.size(), kMost)); });
      if (n < 0) fail_errno("cannot write", path);
      left = left.subspan(static_cast<std::size_t>(n));
    }
  }
}

// Whether `path` still names the open file.
bool names(const fs::path& path, const Descriptor& file) {
  struct stat a {
  }, b{};
  return ::stat(path.c_str(), &a) == 0 && ::fstat(file.get(), &b) == 0 && a.st_ino == b.st_ino &&
         a.st_dev == b.st_dev;
}

// Creates the temporary file and locks it. The lock tells a live writer from a killed one: only
// its holder may rename or remove the file, so an unlocked leftover can be taken away. File
// systems without locks get no turn-taking, only the atomic rename.
Descriptor create_locked(const fs::path& temporary, const fs::path& path) {
  while (true) {
    Descriptor file = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (file.ok()) {
      retry([&] { return ::flock(file.get(), LOCK_EX); });
      if (names(temporary, file)) return file;
      continue;
    }
    if (errno != EEXIST) fail_errno("cannot write", path);
    Descriptor other = open_file(temporary, O_WRONLY);
    if (!other.ok()) {
      if (errno == ENOENT) continue;
      fail_errno("cannot write", temporary);
    }
    retry([&] { return ::flock(other.get(), LOCK_EX); });
    if (names(temporary, other) && ::unlink(temporary.c_str()) != 0 && errno != ENOENT)
      fail_errno("cannot remove", temporary);
  }
}

void sync_folder(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const Descriptor handle = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!handle.ok()) fail_errno("cannot open folder", folder);
  // EINVAL: a file system that cannot flush folders.
  if (retry([&] { return ::fsync(handle.get()); }) != 0 && errno != EINVAL)
    fail_errno("cannot flush folder", folder);
}

}  // namespace

void write_file(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  std::error_code ignored;
  const fs::path target = fs::is_symlink(path, ignored) ? fs::weakly_canonical(path) : path;
  struct stat old {};
  const bool exists = ::stat(target.c_str(), &old) == 0;
  if (exists && S_ISDIR(old.st_mode)) {
    errno = EISDIR;
    fail_errno("cannot write", path);
  }
  if (exists && !S_ISREG(old.st_mode)) {
    const Descriptor device = open_file(target, O_WRONLY);
    if (!device.ok()) fail_errno("cannot write", path);
    write_all(device, pieces, path);
    return;
  }
  const fs::path temporary = target.string() + ".tmp";
  const Descriptor file = create_locked(temporary, path);
  const WriteInProgress writing;
  try {
    if (exists && ::fchmod(file.get(), old.st_mode & 07777) != 0) fail_errno("cannot write", path);
    write_all(file, pieces, path);
    if (retry([&] { return ::fsync(file.get()); }) != 0) fail_errno("cannot flush", path);
    check(names(temporary, file), "cannot write ", path.string(),
          ": another process is writing it too");
    if (::rename(temporary.c_str(), target.c_str()) != 0) fail_errno("cannot replace", path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(target);
}

void write_file(const fs::path& path, std::string_view content) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(content));
  write_file(path, std::span(&piece, 1));
}

namespace {

FileHead read_up_to(const fs::path& path, std::int64_t most) {
  const Descriptor file = open_file(path, O_RDONLY);
  if (!file.ok()) fail_errno("cannot read", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail_errno("cannot read", path);
  FileHead out;
  out.file_bytes = status.st_size;
  // One byte more than a regular file should have shows that it grew, or that it is a pipe.
  constexpr std::int64_t kStep = std::int64_t{1} << 16;
  try {
    std::int64_t room = S_ISREG(status.st_mode) ? status.st_size + 1 : kStep;
    while (std::ssize(out.bytes) < most) {
      const std::int64_t have = std::ssize(out.bytes);
      out.bytes.resize(static_cast<std::size_t>(std::min(most, have + room)));
      const auto n = retry([&] {
        return ::read(file.get(), out.bytes.data() + have,
                      std::min<std::size_t>(out.bytes.size() - static_cast<std::size_t>(have),
                                            std::size_t{1} << 30));
      });
      if (n < 0) fail_errno("cannot read", path);
      out.bytes.resize(static_cast<std::size_t>(have + n));
      if (n == 0) break;
      room = std::max(status.st_size + 1 - std::ssize(out.bytes), kStep);
    }
  } catch (const std::bad_alloc&) {
    fail("cannot read ", path.string(), ": not enough memory for ", status.st_size, " bytes");
  }
  return out;
}

}  // namespace

std::string read_file(const fs::path& path, std::int64_t max_bytes) {
  // Refused by its size before anything is read; a pipe shows its size only by being read.
  std::error_code error;
  const auto size = fs::is_regular_file(path, error) ? fs::file_size(path, error) : 0;
  const bool too_big = !error && size > static_cast<std::uint64_t>(max_bytes);
  FileHead head = too_big ? FileHead{} : read_up_to(path, max_bytes + 1);
  check(!too_big && std::ssize(head.bytes) <= max_bytes, "cannot read ", path.string(), ": ",
        too_big ? cat(size, " bytes, ") : "", "more than the limit of ", max_bytes, " bytes");
  return std::move(head.bytes);
}

FileHead read_file_head(const fs::path& path, std::int64_t bytes) {
  return read_up_to(path, bytes);
}

}  // namespace tessera
