// mnist without a verb, shortened: six files that give the same answers in fresh processes.
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

using Story = MnistApp;

TEST_F(Story, TrainsCompressesAndRunsTheFiles) {
  const Json story = json({"--data", "synthetic:3000:500", "--ref-epochs", "10", "--lc-steps", "8",
                           "--lc-epochs", "3", "--first-epochs", "4", "--out", path("out")});
  EXPECT_EQ(story["files_agreeing"], 6);
  ASSERT_EQ(story["rows"].size(), 6u);
  const auto error = [&](std::size_t row) {
    return story["rows"][row]["error_after"].get<double>();
  };
  EXPECT_LT(error(2), error(0));  // at 1 bit LC is far better than direct compression
  for (const Json& row : story["rows"]) {
    EXPECT_GT(row["ratio"].get<double>(), 15);
    EXPECT_LT(row["json_bytes"].get<int>(), 20'480);
  }
}

}  // namespace
}  // namespace tessera::testing
