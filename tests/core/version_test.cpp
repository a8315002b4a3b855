#include "core/version.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "tests/test_dir.h"

namespace tessera {
namespace {

TEST(Version, IsThatOfTheProject) {
  const std::string lists = read_file(testing::test_dir().parent_path() / "CMakeLists.txt");
  EXPECT_NE(lists.find(cat("project(tessera VERSION ", version(), " ")), std::string::npos)
      << version();
}

}  // namespace
}  // namespace tessera
