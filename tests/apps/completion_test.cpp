// Completion by bash: what a program prints is sourced, and asked as bash would.
#include <sstream>

#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class Completion : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/bin/bash")) GTEST_SKIP() << "there is no bash";
  }
  // What bash offers for the last of the words of a command line.
  std::vector<std::string> offers(const std::vector<std::string>& words) const {
    const std::string name = words.front();
    const Result script = run(program(name), {"completion", "bash"}, folder.path());
    EXPECT_EQ(script.code, 0) << script.error;
    const std::string file = (folder.path() / (name + ".bash")).string();
    write_file(file, script.out);
    std::string line = cat("set -u; source '", file, "'; COMP_WORDS=(");
    for (const std::string& word : words) line += cat("'", word, "' ");
    line +=
        cat("); COMP_CWORD=", words.size() - 1, "; cd '", folder.path().string(), "'; complete -p ",
            name, " >/dev/null; _", name, "; printf '%s\\n' \"${COMPREPLY[@]}\"");
    const Result result = run("/bin/bash", {"-c", line}, folder.path());
    EXPECT_EQ(result.error, "");
    EXPECT_EQ(result.code, 0);
    std::istringstream lines(result.out);
    std::vector<std::string> out;
    for (std::string text; std::getline(lines, text);)
      if (!text.empty()) out.push_back(text);
    return out;
  }

  using Words = std::vector<std::string>;
  datasets::TempDir folder;
};

TEST_F(Completion, OfTheTool) {
  if (!std::filesystem::exists(program("tessera"))) GTEST_SKIP() << "tessera is not built";
  EXPECT_EQ(offers({"tessera", "ins"}), Words{"inspect"});
  EXPECT_EQ(offers({"tessera", "verify", "--tol"}), Words{"--tolerance"});
  EXPECT_EQ(offers({"tessera", "inspect", "--tol"}), Words{});  // another verb's
  EXPECT_EQ(offers({"tessera", "bench", "--compute", "i"}), Words{"int8"});
  write_file(folder.path() / "my model.json", "{}");
  EXPECT_EQ(offers({"tessera", "inspect", "my"}), Words{"my model.json"});
  EXPECT_EQ(offers({"tessera", "inspect", "--json", "my"}), Words{"my model.json"});
}

TEST_F(Completion, OfAnApplication) {
  if (!std::filesystem::exists(program("mnist"))) GTEST_SKIP() << "mnist is not built";
  EXPECT_EQ(offers({"mnist", "comp"}), (Words{"compress", "compare", "completion"}));
  EXPECT_EQ(offers({"mnist", "compress", "--target-b"}), Words{"--target-bpw"});
  EXPECT_EQ(offers({"mnist", "bench", "--compute", "b"}), Words{"bf16"});
  EXPECT_EQ(offers({"mnist", "--dat"}), Words{"--data"});  // without a verb
  std::filesystem::create_directory(folder.path() / "digits");
  write_file(folder.path() / "digits.json", "{}");
  EXPECT_EQ(offers({"mnist", "train", "--data", "dig"}), Words{"digits"});
}

// Every flag that a help lists is offered, and no other.
TEST_F(Completion, OffersTheFlagsOfTheHelp) {
  for (const auto& [name, verb] : {std::pair("tessera", "plan"), std::pair("mnist", "compress")}) {
    if (!std::filesystem::exists(program(name))) continue;
    std::istringstream help(run(program(name), {verb, "--help"}, folder.path()).out);
    std::vector<std::string> listed = {"--help"};
    for (std::string line; std::getline(help, line) && line != "Examples:";) {
      if (line.starts_with("  --"))
        listed.push_back(line.substr(2, line.find_first_of(" \n", 2) - 2));
    }
    std::vector<std::string> offered = offers({name, verb, "--"});
    std::ranges::sort(listed);
    std::ranges::sort(offered);
    EXPECT_GT(listed.size(), 10u);
    EXPECT_EQ(offered, listed);
  }
}

TEST_F(Completion, KnowsItsShells) {
  if (!std::filesystem::exists(program("tessera"))) GTEST_SKIP() << "tessera is not built";
  const Result result = run(program("tessera"), {"completion", "fish"}, folder.path());
  EXPECT_EQ(result.code, 2);
  EXPECT_TRUE(result.error.starts_with("tessera: error: shell: 'fish' is unknown")) << result.error;
}

}  // namespace
}  // namespace tessera::testing
