// One process at a time writes to a folder of results.
#pragma once

#include <filesystem>

namespace tessera::apps {

// Holds DIR/.lock for as long as it lives or the process does: the system lets go of it when the
// process ends, however it ends, so nobody clears up after a killed one. The file itself stays,
// with the holder's process number in it.
class OutLock {
 public:
  // Throws Error naming the process that holds it. On a file system without locks nothing is held.
  explicit OutLock(const std::filesystem::path& folder);
  ~OutLock();
  OutLock(const OutLock&) = delete;
  OutLock& operator=(const OutLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace tessera::apps
