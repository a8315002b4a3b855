// IDX files, plain, gzip and xz.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "datasets/idx.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A file in memory where there is one: the reader takes paths.
  static const std::filesystem::path path =
      (std::filesystem::exists("/dev/shm") ? std::filesystem::path("/dev/shm")
                                           : std::filesystem::temp_directory_path()) /
      ("tessera_fuzz_idx_" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    tessera::datasets::read_idx(path, 1 << 24);
  } catch (const tessera::Error&) {
  }
  std::filesystem::remove(path);
  return 0;
}
