#include "core/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/compile.h"
#include "core/error.h"
#include "tests/core/sample_models.h"

namespace tessera {
namespace {

class Environment : public ::testing::Test {
 protected:
  // What is wrong with VARIABLE=`value`, or "".
  static std::string message(const char* variable, const char* value) {
    setenv(variable, value, 1);
    std::string out;
    try {
      check_environment();
    } catch (const Error& error) {
      out = error.what();
    }
    unsetenv(variable);
    return out;
  }
};

TEST_F(Environment, KnownWordsAreTaken) {
  EXPECT_EQ(message("TESSERA_CHECK", "nan,poison,verify"), "");
  EXPECT_EQ(message("TESSERA_CHECK", ""), "");
  EXPECT_EQ(message("TESSERA_DUMP", "after:fuse,after:select"), "");
  EXPECT_EQ(message("TESSERA_SKIP", "fuse"), "");
  EXPECT_EQ(message("TESSERA_VERBOSE", "select"), "");
  EXPECT_EQ(message("TESSERA_JIT", "0"), "");
}

TEST_F(Environment, OthersAreRefusedWithThoseThatThereAre) {
  EXPECT_EQ(message("TESSERA_CHECK", "foo"),
            "TESSERA_CHECK: 'foo' is unknown; known are nan, poison, verify");
  EXPECT_EQ(message("TESSERA_CHECK", "nan,verfy"),
            "TESSERA_CHECK: 'verfy' is unknown; did you mean 'verify'? Known are nan, poison, "
            "verify");
  EXPECT_EQ(message("TESSERA_DUMP", "fuse").substr(0, 32), "TESSERA_DUMP: 'fuse' is unknown;");
  EXPECT_NE(message("TESSERA_DUMP", "fuse").find("after:fuse"), std::string::npos);
  EXPECT_NE(message("TESSERA_SKIP", "fold,fusion").find("'fusion' is unknown"), std::string::npos);
  EXPECT_NE(message("TESSERA_VERBOSE", "1").find("known are select"), std::string::npos);
  EXPECT_NE(message("TESSERA_JIT", "off").find("known are 0, 1"), std::string::npos);
}

TEST_F(Environment, LibraryUsersHearOfThemWhenTheyCompile) {
  const Model model = testing::small_model();
  setenv("TESSERA_CHECK", "nans", 1);
  EXPECT_THROW(compile(model), Error);
  setenv("TESSERA_CHECK", "nan", 1);
  EXPECT_TRUE(environment_lists("TESSERA_CHECK", "nan"));
  EXPECT_FALSE(environment_lists("TESSERA_CHECK", "poison"));
  compile(model);
  unsetenv("TESSERA_CHECK");
  EXPECT_FALSE(environment_lists("TESSERA_CHECK", "nan"));
}

}  // namespace
}  // namespace tessera
