// Files that were found to hurt, as they were found: those of ../shared/repro.
#include "tests/apps/hostile.h"
#include "tests/data_dir.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

// Every file of the folder, under every verb that reads it.
TEST(HostileFiles, EndQuicklyAndSmall) {
  const auto folder = testing::data_dir("../repro");
  if (!folder) GTEST_SKIP() << "../shared/repro is not here";
  for (const char* name : {"tessera", "mnist"}) {
    if (!fs::exists(testing::program(name))) GTEST_SKIP() << name << " is not built";
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(*folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  const datasets::TempDir work;
  int runs = 0;
  for (const fs::path& file : files) {
    const std::string name = file.filename().string(), path = file.string();
    if (fs::is_directory(file)) {
      testing::expect_harmless(
          "tessera", {"report", path, "--out", (work.path() / "r.html").string()}, work.path());
    } else if (file.extension() == ".json") {
      testing::expect_harmless("tessera", {"inspect", path}, work.path());
      testing::expect_harmless("tessera", {"verify", path}, work.path());
      testing::expect_harmless("mnist", {"eval", path, "--data", "synthetic:200:50"}, work.path());
      if (name == "sym.json") {
        for (const char* verb : {"inspect", "verify", "export"})
          testing::expect_refused("tessera", {verb, path, "--batch", "8589934592"}, work.path());
      }
    } else if (file.extension() == ".npz" || file.extension() == ".xz") {
      testing::expect_refused(
          "mnist",
          {"import", path, "--data", "synthetic:200:50", "--out", (work.path() / "out").string()},
          work.path());
    } else {
      continue;
    }
    ++runs;
  }
  EXPECT_GT(runs, 20);
}

}  // namespace
}  // namespace tessera
