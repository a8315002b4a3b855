// Lines and tables fit the terminal, and nothing is left out where there is none.
#include "report/terminal.h"

#include <sstream>

#include "apps/cli/progress_line.h"
#include "report/table.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

using apps::fitted;
using apps::fitted_bar;
using apps::LinePart;
using experiment::Table;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

std::size_t widest(const std::string& text) {
  std::size_t out = 0;
  for (const auto& line : lines_of(text)) out = std::max(out, line.size());
  return out;
}

Table wide() {
  Table table({"method", "bits", "one", "two", "three", "kernel"}, 2);
  table.add({"dc", "1", "1111.11", "222222", "333333333", "alpha_kernel+beta_kernel+gamma"});
  table.add({"adaround", "2", "1.0", "2", "3", "alpha"});
  return table;
}

std::string printed(const Table& table, int columns) {
  std::ostringstream out;
  table.print(out, columns);
  return out.str();
}

TEST(Table, IsCutIntoBlocksThatRepeatTheKeys) {
  const std::string whole = printed(wide(), 0);
  EXPECT_EQ(lines_of(whole).size(), 3u);
  EXPECT_EQ(printed(wide(), static_cast<int>(widest(whole))), whole);
  std::ostringstream file;
  wide().print(file);  // no terminal
  EXPECT_EQ(file.str(), whole);
  for (const int columns : {70, 60, 50, 40, 30}) {
    const std::string cut = printed(wide(), columns);
    EXPECT_LE(widest(cut), static_cast<std::size_t>(columns)) << cut;
    // All that the whole table says, in pieces.
    for (const std::string word : {"1111.11", "222222", "333333333", "alpha_kernel", "gamma"})
      EXPECT_NE(cut.find(word), std::string::npos) << columns << ": " << word << "\n" << cut;
    std::size_t keys = 0;
    for (const auto& line : lines_of(cut)) keys += line.starts_with("adaround");
    std::size_t blocks = 1;
    for (const auto& line : lines_of(cut)) blocks += line.empty();
    EXPECT_EQ(keys, blocks) << cut;
    EXPECT_GT(blocks, 1u);
  }
  for (const int columns : {1, 7, 12}) EXPECT_NE(printed(wide(), columns), "");  // too narrow: ends
}

TEST(ProgressLine, LeavesOutWhatIsWorthLeast) {
  const std::vector<LinePart> parts = {
      {"lc"}, {"7/30"}, {"loss 0.1", 1}, {"mu 3", 3}, {"eta 1:00", 2}};
  EXPECT_EQ(fitted(parts, 0), "lc  7/30  loss 0.1  mu 3  eta 1:00");
  EXPECT_EQ(fitted(parts, 34), "lc  7/30  loss 0.1  mu 3  eta 1:00");
  EXPECT_EQ(fitted(parts, 33), "lc  7/30  loss 0.1  eta 1:00");
  EXPECT_EQ(fitted(parts, 20), "lc  7/30  loss 0.1");
  EXPECT_EQ(fitted(parts, 5), "lc  7");
  EXPECT_EQ(fitted_bar(parts, 0.5, 0),
            "lc  [############............]  7/30  loss 0.1  mu 3  eta 1:00");
  EXPECT_EQ(fitted_bar(parts, 0.5, 46), "lc  [####....]  7/30  loss 0.1  mu 3  eta 1:00");
  EXPECT_EQ(fitted_bar(parts, 1, 45), "lc  [#############]  7/30  loss 0.1  eta 1:00");
  for (int columns = 1; columns < 80; ++columns)
    EXPECT_LE(fitted_bar(parts, 0.3, columns).size(), static_cast<std::size_t>(columns));
}

TEST(Wrapped, BreaksAtSpaces) {
  EXPECT_EQ(experiment::wrapped("one two three\nfour\n", 8), "one two\nthree\nfour\n");
  EXPECT_EQ(widest(experiment::wrapped(std::string(300, 'x') + " y", 20)), 300u);
  const std::string long_text = [] {
    std::string text;
    for (int i = 0; i < 100; ++i) text += "word ";
    return text;
  }();
  EXPECT_LE(widest(experiment::wrapped(long_text, 0)), 100u);
  EXPECT_LE(widest(experiment::wrapped(long_text, 500)), 100u);
}

class Terminal : public MnistApp {
 protected:
  Args compress() const {
    return {"compress", "--data",     kTiny, "--out",       path("out"), "--ref-epochs",
            "2",        "--lc-steps", "6",   "--lc-epochs", "2",         "--first-epochs",
            "2",        "--method",   "lc",  "--threads",   "1"};
  }
};

TEST_F(Terminal, ProgressAndTablesFitIt) {
  for (const int columns : {80, 50}) {
    const std::string seen = run_on_terminal(app, compress(), folder.path(), columns);
    const std::string erase = "\r\033[K";
    std::size_t drawn = 0, tables = 0;
    bool table = false;
    for (std::string line : lines_of(seen)) {
      if (line.ends_with('\r')) line.pop_back();
      // Each drawing begins by erasing what it drew before: no copy may have wrapped.
      for (std::size_t at = 0; (at = line.find(erase)) != line.npos; ++drawn) {
        EXPECT_LT(at, static_cast<std::size_t>(columns)) << line.substr(0, at);
        line.erase(0, at + erase.size());
      }
      table = table || line.starts_with("Test errors in percent");
      tables += line.starts_with("method  codebook");
      if (line.starts_with("  by ")) continue;  // a command, to be copied
      if (table || line.starts_with("  C step") || line.starts_with("  lc epoch")) {
        EXPECT_LE(line.size(), static_cast<std::size_t>(columns)) << line;
      }
    }
    EXPECT_GT(drawn, 0u);
    EXPECT_GT(tables, 1u) << seen;
    EXPECT_NE(seen.find("packed us"), std::string::npos);
    std::filesystem::remove_all(path("out"));
  }
  const std::string file = must(compress()).out;
  EXPECT_GT(widest(file), 140u);
  EXPECT_EQ(file.find('\033'), std::string::npos);
}

}  // namespace
}  // namespace tessera::testing
