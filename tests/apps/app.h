// Applications under test, each test in a folder of its own.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "tests/apps/process.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::testing {

class App : public ::testing::Test {
 protected:
  using Args = std::vector<std::string>;

  explicit App(const std::string& name) : app(program(name)), name_(name) {}

  void SetUp() override {
    if (!std::filesystem::exists(app)) GTEST_SKIP() << app << " is not built";
  }

  std::string path(const std::string& name) const { return (folder.path() / name).string(); }
  Result result_of(const Args& args) const { return run(app, args, folder.path()); }
  // Exit code 0, or the test fails with what the program said.
  Result must(const Args& args) const {
    Result result = result_of(args);
    EXPECT_EQ(result.code, 0) << result.error << result.out;
    return result;
  }
  // The results of a run that must succeed.
  Json json(Args args) const {
    args.insert(args.end(), {"--json", "-", "--quiet"});
    return parse_json(must(args).out, "stdout");
  }
  // Exit code 2 and one line on stderr, returned without "NAME: error: ".
  std::string refused(const Args& args) const {
    const Result result = result_of(args);
    EXPECT_EQ(result.code, 2) << result.error << result.out;
    const std::string start = name_ + ": error: ";
    EXPECT_TRUE(result.error.starts_with(start)) << result.error;
    EXPECT_EQ(result.error.find('\n'), result.error.size() - 1) << result.error;
    return result.error.substr(std::min(start.size(), result.error.size()));
  }
  // Contents by name of the models in a folder, without the histograms beside them.
  std::map<std::string, std::string> models(const std::string& name) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path() / name)) {
      const auto extension = entry.path().extension();
      if (extension != ".json" && extension != ".safetensors") continue;
      if (entry.path().stem().extension() == ".histograms") continue;
      files[entry.path().filename().string()] = read_file(entry.path());
    }
    return files;
  }

  std::filesystem::path app;
  datasets::TempDir folder;

 private:
  std::string name_;
};

class MnistApp : public App {
 protected:
  MnistApp() : App("mnist") {}
};

// A training set for tests that need no accuracy.
inline const std::string kTiny = "synthetic:600:100";

}  // namespace tessera::testing
