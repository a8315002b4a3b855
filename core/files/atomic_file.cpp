#include "core/files/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

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
  int release() { return std::exchange(fd_, -1); }
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

// Names of files that are being written; the digits are random.
constexpr std::string_view kTemporary = ".tessera-", kTemporaryEnd = ".tmp";
constexpr std::size_t kTemporaryDigits = 16;

bool is_temporary(const std::string& name) {
  if (name.size() != kTemporary.size() + kTemporaryDigits + kTemporaryEnd.size()) return false;
  return name.starts_with(kTemporary) && name.ends_with(kTemporaryEnd) &&
         name.find_first_not_of("0123456789abcdef", kTemporary.size()) ==
             name.size() - kTemporaryEnd.size();
}

std::string temporary_name() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::random_device random;
  std::string out(kTemporary);
  for (std::size_t i = 0; i < kTemporaryDigits; ++i) out += kDigits[random() % 16];
  return out += kTemporaryEnd;
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// A live writer holds a lock on its file, a killed one does not. What cannot be locked or removed
// is left alone.
void remove_leftovers(const fs::path& folder) {
  std::error_code ignored;
  std::vector<fs::path> left;
  for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    if (is_temporary(it->path().filename().string())) left.push_back(it->path());
  }
  for (const fs::path& path : left) {
    const Descriptor file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (file.ok() && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 && names(path, file))
      ::unlink(path.c_str());
  }
}

struct Temporary {
  fs::path path;
  Descriptor file;
};

// A new file, locked. It may be taken for a leftover before it is locked: then the next one is
// made.
Temporary create_temporary(const fs::path& target, const fs::path& path) {
  remove_leftovers(folder_of(target));
  while (true) {
    const fs::path temporary = target.parent_path() / temporary_name();
    Descriptor file = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (!file.ok() && errno == EEXIST) continue;
    if (!file.ok()) fail_errno("cannot write", path);
    retry([&] { return ::flock(file.get(), LOCK_EX); });
    if (names(temporary, file)) return {temporary, std::move(file)};
  }
}

// stdout or stderr, where `status` is of what one of them leads to; else -1. Opened by a name, the
// same file would be written over from its start, and a socket could not be.
int standard_stream(const struct stat& status) {
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat own {};
    if (::fstat(stream, &own) == 0 && own.st_ino == status.st_ino && own.st_dev == status.st_dev)
      return stream;
  }
  return -1;
}

void sync_folder(const fs::path& path) {
  const fs::path folder = folder_of(path);
  const Descriptor handle = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!handle.ok()) fail_errno("cannot open folder", folder);
  // EINVAL: a file system that cannot flush folders.
  if (retry([&] { return ::fsync(handle.get()); }) != 0 && errno != EINVAL)
    fail_errno("cannot flush folder", folder);
}

}  // namespace

void write_file(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  struct stat old {};
  // The name as given: links of /proc and /dev lead to pipes, which no path names.
  const bool exists = ::stat(path.c_str(), &old) == 0;
  if (exists && S_ISDIR(old.st_mode)) {
    errno = EISDIR;
    fail_errno("cannot write", path);
  }
  const int stream = exists ? standard_stream(old) : -1;
  if (stream >= 0 || (exists && !S_ISREG(old.st_mode))) {
    const Descriptor device = stream >= 0 ? Descriptor(::dup(stream)) : open_file(path, O_WRONLY);
    if (!device.ok()) fail_errno("cannot write", path);
    write_all(device, pieces, path);
    return;
  }
  const fs::path target = follow_links(path);
  const Temporary made = create_temporary(target, path);
  const fs::path& temporary = made.path;
  const Descriptor& file = made.file;
  const WriteInProgress writing;
  try {
    if (exists && ::fchmod(file.get(), old.st_mode & 07777) != 0) fail_errno("cannot write", path);
    write_all(file, pieces, path);
    if (retry([&] { return ::fsync(file.get()); }) != 0) fail_errno("cannot flush", path);
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

// Reads on until `content` has `most` bytes or the file ends; `size` is what it should have.
void read_on(int file, const fs::path& path, std::int64_t size, std::int64_t most,
             std::string& content) {
  // One byte more than a regular file should have shows that it grew, or that it is a pipe.
  constexpr std::int64_t kStep = std::int64_t{1} << 16;
  try {
    while (std::ssize(content) < most) {
      const std::int64_t have = std::ssize(content);
      const std::int64_t room = std::max(size + 1 - have, kStep);
      content.resize(static_cast<std::size_t>(std::min(most, have + room)));
      const auto n = retry([&] {
        return ::read(file, content.data() + have,
                      std::min<std::size_t>(content.size() - static_cast<std::size_t>(have),
                                            std::size_t{1} << 30));
      });
      if (n < 0) fail_errno("cannot read", path);
      content.resize(static_cast<std::size_t>(have + n));
      if (n == 0) break;
    }
  } catch (const std::bad_alloc&) {
    fail("cannot read ", path.string(), ": not enough memory for ", size, " bytes");
  }
}

// Opened without waiting for the other end of a pipe.
Descriptor open_input(const fs::path& path, struct stat& status) {
  Descriptor file = open_file(path, O_RDONLY | O_NONBLOCK);
  if (!file.ok() || ::fstat(file.get(), &status) != 0) fail_errno("cannot read", path);
  if (S_ISDIR(status.st_mode)) {
    errno = EISDIR;
    fail_errno("cannot read", path);
  }
  return file;
}

[[noreturn]] void refuse_special(const fs::path& path) {
  fail("cannot read ", path.string(), ": expected a regular file, got a device or a pipe");
}

void require_at_most(std::int64_t bytes, std::int64_t most, const fs::path& path) {
  check(bytes <= most, "cannot read ", path.string(), ": ", bytes,
        " bytes, more than the limit of ", most, " bytes");
}

}  // namespace

InputFile::InputFile(const fs::path& path) : path_(path) {
  struct stat status {};
  Descriptor file = open_input(path, status);
  if (!S_ISREG(status.st_mode)) refuse_special(path);
  size_ = status.st_size;
  fd_ = file.release();
}

InputFile::~InputFile() {
  ::close(fd_);
}

std::string_view InputFile::head(std::int64_t bytes) {
  if (std::ssize(content_) < bytes) read_on(fd_, path_, size_, bytes, content_);
  return std::string_view(content_).substr(0, static_cast<std::size_t>(bytes));
}

std::string InputFile::all(std::int64_t max_bytes) {
  require_at_most(size_, max_bytes, path_);
  read_on(fd_, path_, size_, max_bytes + 1, content_);
  require_at_most(std::ssize(content_), max_bytes, path_);
  return std::move(content_);
}

std::string read_file(const fs::path& path, std::int64_t max_bytes) {
  struct stat status {
  }, name{};
  const Descriptor file = open_input(path, status);
  if (S_ISREG(status.st_mode)) {
    require_at_most(status.st_size, max_bytes, path);
  } else {
    // A pipe with a name waits for whoever may never come.
    const bool named = ::lstat(path.c_str(), &name) == 0 && S_ISFIFO(name.st_mode);
    if (!S_ISFIFO(status.st_mode) || named) refuse_special(path);
    if (::fcntl(file.get(), F_SETFL, 0) != 0) fail_errno("cannot read", path);
    status.st_size = 0;
  }
  std::string out;
  read_on(file.get(), path, status.st_size, max_bytes + 1, out);
  check(std::ssize(out) <= max_bytes, "cannot read ", path.string(), ": more than the limit of ",
        max_bytes, " bytes");
  return out;
}

bool file_exists(const fs::path& path) {
  std::error_code error;
  const bool there = fs::exists(path, error);
  check(!error, "cannot read ", path.string(), ": ", error.message());
  return there;
}

fs::path follow_links(const fs::path& path) {
  constexpr int kMost = 40;  // as the system
  fs::path out = path;
  for (int i = 0; i < kMost; ++i) {
    std::error_code none;
    const fs::path next = fs::read_symlink(out, none);
    if (none) return out;
    out = next.is_absolute() ? next : out.parent_path() / next;
  }
  errno = ELOOP;
  fail_errno("cannot follow", path);
}

FolderLock::FolderLock(const fs::path& folder)
    : fd_(open_file(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY).release()) {
  if (fd_ >= 0) retry([&] { return ::flock(fd_, LOCK_EX); });
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace tessera
