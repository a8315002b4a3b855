#include "apps/cli/out_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.h"

namespace tessera::apps {

namespace {

constexpr const char* kName = ".lock";
constexpr std::size_t kMostDigits = 20;

// "1234", as the holder wrote it; "" when there is nothing of the kind.
std::string holder(int descriptor) {
  char text[kMostDigits + 1];
  const ssize_t bytes = ::pread(descriptor, text, kMostDigits, 0);
  std::string out(text, bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  out.erase(std::min(out.find_first_not_of("0123456789"), out.size()));
  return out;
}

}  // namespace

OutLock::OutLock(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / kName;
  // A link or a device under this name is nothing to write to.
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  struct stat status {};
  check(descriptor_ >= 0, "--out: cannot open ", file.string(), ": ", std::strerror(errno));
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    fail("--out: ", file.string(), " is there and no file; it is the lock of a folder of results");
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) {
    const std::string text = std::to_string(::getpid()) + "\n";
    if (::ftruncate(descriptor_, 0) != 0 ||
        ::pwrite(descriptor_, text.data(), text.size(), 0) != std::ssize(text)) {
      // Who finds it locked is told no number.
    }
    return;
  }
  if (errno != EWOULDBLOCK) return;
  const std::string process = holder(descriptor_);
  ::close(descriptor_);
  fail("--out ", folder.string(), ": ", process.empty() ? "another process" : "process " + process,
       " is writing there; wait for it, end it, or choose another --out");
}

OutLock::~OutLock() {
  ::close(descriptor_);
}

}  // namespace tessera::apps
