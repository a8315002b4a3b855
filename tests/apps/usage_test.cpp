// Help, hints and settings that every program shares.
#include <sstream>

#include "core/version.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

using Args = std::vector<std::string>;

class Programs : public ::testing::Test {
 protected:
  Result run_of(const std::string& name, const Args& args) const {
    return run(program(name), args, folder.path());
  }
  // What is behind "NAME: error: " on the one line of a refusal.
  std::string refused(const std::string& name, const Args& args) const {
    const Result result = run_of(name, args);
    EXPECT_EQ(result.code, 2) << result.error << result.out;
    const std::string start = name + ": error: ";
    EXPECT_TRUE(result.error.starts_with(start)) << result.error;
    EXPECT_EQ(result.error.find('\n'), result.error.size() - 1) << result.error;
    return result.error.substr(std::min(start.size(), result.error.size()));
  }
  void expect_refused(const std::string& name, const Args& args, const std::string& part) const {
    const std::string message = refused(name, args);
    EXPECT_NE(message.find(part), std::string::npos) << message << "should say " << part;
  }
  static std::vector<std::string> built() {
    std::vector<std::string> out;
    for (const std::string name : {"mnist", "cifar10", "cifar100", "imagenet", "tessera"}) {
      if (std::filesystem::exists(program(name))) out.push_back(name);
    }
    return out;
  }
  // As its help lists them: lines that begin with two blanks and a word.
  std::vector<std::string> verbs(const std::string& name) const {
    std::istringstream lines(run_of(name, {"--help"}).out);
    std::vector<std::string> out;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("  ") && line.size() > 2 && line[2] != ' ')
        out.push_back(line.substr(2, line.find(' ', 2) - 2));
    }
    EXPECT_GE(out.size(), 7u) << name;
    return out;
  }

  datasets::TempDir folder;
};

TEST_F(Programs, SayTheirVersion) {
  for (const std::string& name : built()) {
    const Result result = run_of(name, {"--version"});
    EXPECT_EQ(result.out, cat(name, " ", version(), "\n"));
    EXPECT_EQ(result.code, 0);
    EXPECT_EQ(result.error, "");
  }
}

// Of a help what is no command line.
TEST_F(Programs, HelpFitsEightyColumns) {
  for (const std::string& name : built()) {
    for (const std::string& verb : verbs(name)) {
      std::istringstream lines(run_of(name, {verb, "--help"}).out);
      for (std::string line; std::getline(lines, line) && line != "Examples:";) {
        EXPECT_LE(line.size(), 80u) << name << " " << verb << ": " << line;
      }
    }
  }
}

// The examples of a help, as command lines.
std::vector<std::string> examples(const std::string& help) {
  std::istringstream lines(help.substr(std::min(help.find("\nExamples:\n"), help.size())));
  std::vector<std::string> out;
  std::string line;
  std::getline(lines, line);
  std::getline(lines, line);
  while (std::getline(lines, line)) out.push_back(line);
  return out;
}

// Every flag of every example is one that the verb takes.
TEST_F(Programs, EveryHelpHasExamplesThatParse) {
  for (const std::string& name : built()) {
    std::vector<Args> helps;
    for (const std::string& verb : verbs(name)) helps.push_back({verb, "--help"});
    if (name == "mnist") helps.push_back({"--help-story"});
    for (const Args& help : helps) {
      SCOPED_TRACE(name + " " + help[0]);
      const Result result = run_of(name, help);
      const auto lines = examples(result.out);
      EXPECT_FALSE(lines.empty()) << result.out;
      for (const std::string& line : lines) {
        ASSERT_TRUE(line.starts_with("  " + name)) << line;
        const std::string command =
            cat("'", program(name).string(), "'", line.substr(2 + name.size()), " --help");
        const Result parsed = run("/bin/sh", {"-c", command}, folder.path());
        EXPECT_EQ(parsed.code, 0) << line << ": " << parsed.error;
      }
    }
  }
}

TEST_F(Programs, MisspeltWordsAreFollowedByTheRightOnes) {
  if (!std::filesystem::exists(program("mnist"))) GTEST_SKIP() << "mnist is not built";
  expect_refused("mnist", {"trian"}, "'trian' is unknown; did you mean 'train'?");
  expect_refused("mnist", {"train", "--epoch", "3"},
                 "unrecognised option '--epoch'; did you mean '--epochs'?");
  expect_refused("mnist", {"train", "--bn_reestimte=3"}, "usage: mnist train [flags]");
  expect_refused("mnist", {"train", "--net", "lenet30"}, "did you mean 'lenet300'?");
  expect_refused("mnist", {"train", "--activation", "rleu"}, "did you mean 'relu'?");
  expect_refused("mnist", {"compress", "--method", "mcoq"}, "did you mean 'mocq'?");
  expect_refused("mnist", {"compress", "--policy", "first-last8"}, "did you mean 'first-last-8'?");
  if (!std::filesystem::exists(program("tessera"))) GTEST_SKIP() << "tessera is not built";
  expect_refused("tessera", {"inspct"}, "did you mean 'inspect'?");
  expect_refused("tessera", {"inspect", "--bacth", "1", "x"}, "did you mean '--batch'?");
}

TEST_F(Programs, BothNamesOfSeedAndMethodAreTaken) {
  if (!std::filesystem::exists(program("mnist"))) GTEST_SKIP() << "mnist is not built";
  for (const std::string verb : {"train", "compress", "compare"}) {
    for (const std::string flag : {"--seed", "--seeds"}) {
      expect_refused("mnist", {verb, flag, "x"}, "--seed: expected a whole number, got 'x'");
      expect_refused("mnist", {verb, flag + "=x"}, "--seed: expected a whole number, got 'x'");
    }
  }
  for (const std::string verb : {"compress", "compare", "bench"}) {
    for (const std::string flag : {"--method", "--methods"}) {
      expect_refused("mnist", {verb, flag, "dc,,lc"}, "--method: expected a list");
    }
  }
  const std::string help = run_of("mnist", {"compare", "--help"}).out;
  EXPECT_NE(help.find("Also taken: --seeds for --seed, --methods for --method."), help.npos);
  EXPECT_EQ(help.find("--seeds ["), help.npos) << help;
}

TEST_F(Programs, SettingsOfTheEnvironmentAreChecked) {
  for (const std::string& name : built()) {
    setenv("TESSERA_CHECK", "foo", 1);
    EXPECT_EQ(refused(name, {"--help"}),
              "TESSERA_CHECK: 'foo' is unknown; known are nan, poison, verify\n");
    unsetenv("TESSERA_CHECK");
    setenv("TESSERA_ISA", "sse", 1);
    EXPECT_NE(refused(name, {"--help"}).find("TESSERA_ISA=sse is not known; use one of"),
              std::string::npos);
    unsetenv("TESSERA_ISA");
  }
}

}  // namespace
}  // namespace tessera::testing
