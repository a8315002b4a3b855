#include "tests/test_dir.h"

namespace tessera::testing {

const std::filesystem::path& test_dir() {
  static const std::filesystem::path path = TESSERA_TEST_DIR;
  return path;
}

}  // namespace tessera::testing
