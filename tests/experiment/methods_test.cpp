// The list of methods, and who walks it.
#include "quant/method/method_list.h"

#include <gtest/gtest.h>

#include <set>

#include "core/files/atomic_file.h"
#include "experiment/recipe.h"
#include "quant/method/combination.h"
#include "tests/error_of.h"
#include "tests/test_dir.h"

namespace tessera::experiment {
namespace {

using testing::error_of;

TEST(Methods, RowsAreWhole) {
  const Settings usual = quant::method_settings();
  EXPECT_NO_THROW(quant::validate_methods(usual));
  std::set<std::string> names;
  for (const quant::MethodRow& row : quant::methods()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_FALSE(row.doc.empty()) << row.name;
    EXPECT_LE(row.name.size() + row.doc.size(), 76u) << row.name;  // a title of help
    EXPECT_EQ(row.trains(), row.rescale != nullptr) << row.name;
    EXPECT_NE(row.trains(), row.after_training != nullptr) << row.name;
    const quant::AnyMethod method = row.make(usual);
    EXPECT_EQ(method.name(), row.name);
    EXPECT_EQ(method.epochs() > 0, row.trains()) << row.name;
    for (const Setting& setting : row.settings) {
      EXPECT_FALSE(setting.help.empty()) << setting.name;
      EXPECT_TRUE(usual.has(setting.name)) << setting.name;
    }
  }
}

// A setting that shapes a result is in its configuration: another value gives another one.
TEST(Methods, EverySettingShowsInTheConfiguration) {
  for (const quant::MethodRow& row : quant::methods()) {
    for (const Setting& setting : row.settings) {
      Settings changed = quant::method_settings();
      if (setting.name == "train-lr-step-factor") changed.set("train-lr-steps", "0.5");
      const Config before = row.config(changed);
      if (std::holds_alternative<std::string>(setting.fallback)) {
        if (setting.name == "train-lr-steps") changed.set(setting.name, "0.5");
        if (setting.name == "distill") changed.set(setting.name, "none");
        if (setting.name == "coefficient") changed.set(setting.name, "scheduled");
        if (setting.name == "regularizer") changed.set(setting.name, "l1");
      } else if (std::holds_alternative<bool>(setting.fallback)) {
        changed.set(setting.name, !changed.on(setting.name));
      } else if (std::holds_alternative<std::int64_t>(setting.fallback)) {
        changed.set(setting.name, changed.whole(setting.name) + 1);
      } else {
        changed.set(setting.name,
                    setting.least + 0.4 * (changed.number(setting.name) - setting.least) + 3e-4);
      }
      EXPECT_NE(row.config(changed), before) << row.name << " --" << setting.name;
    }
  }
}

TEST(Methods, ValuesOutOfRangeNameTheFlag) {
  const Settings all = quant::method_settings();
  for (const Setting& setting : all.rows()) {
    Settings bad = quant::method_settings();
    if (std::holds_alternative<double>(setting.fallback)) bad.set(setting.name, setting.most * 2);
    if (std::holds_alternative<std::int64_t>(setting.fallback)) bad.set(setting.name, -1);
    if (std::holds_alternative<std::string>(setting.fallback)) bad.set(setting.name, "?");
    if (std::holds_alternative<bool>(setting.fallback)) continue;
    EXPECT_TRUE(error_of([&] { quant::validate_methods(bad); }).starts_with("--" + setting.name))
        << setting.name;
  }
}

TEST(Methods, ACosineAndStepsExcludeEachOther) {
  Settings steps = quant::method_settings();
  steps.set("train-lr-final", 0.5);  // as an application may
  steps.read("train-lr-steps", "0.5");
  EXPECT_NO_THROW(quant::validate_methods(steps));
  steps.read("train-lr-final", "0.5");
  EXPECT_EQ(error_of([&] { quant::validate_methods(steps); }),
            "--train-lr-final is of a cosine, --train-lr-steps takes its place: they exclude each "
            "other");
}

TEST(Methods, UnknownNamesAreRefusedWithTheList) {
  EXPECT_EQ(error_of([] { quant::method_row("lcc"); }),
            "--method: 'lcc' is unknown; did you mean 'lc'? Known are dc, fisher, adaround, gptq, "
            "lnq, idc, "
            "lc, lc-qp, mocq, mocq-authors, qar, ste, twn, ttq, lsq, ewgs, dkm");
}

TEST(Methods, CombinationsHaveTheSettingsOfTheirParts) {
  const CompressRecipe recipe;
  const Config both = recipe.config("r2+lnq+mocq+kd", "adaptive:2");
  EXPECT_EQ(both.at("method"), "r2+lnq+mocq+kd");
  EXPECT_EQ(both.at("r2.kind"), "linf");
  EXPECT_EQ(both.at("r2.weight"), "0.01");
  EXPECT_EQ(both.at("mocq.distill"), "none");
  for (const char* part : {"lnq", "mocq"}) {
    for (const auto& [key, value] : recipe.config(part, "adaptive:2")) {
      EXPECT_TRUE(both.contains(key)) << part << " " << key;
    }
  }
  CompressRecipe other = recipe;
  other.methods.set("kd-weight", 0.5);
  EXPECT_NE(other.config("lc+kd", "adaptive:2"), recipe.config("lc+kd", "adaptive:2"));
  EXPECT_EQ(other.config("lc", "adaptive:2"), recipe.config("lc", "adaptive:2"));
}

// The table of docs/compare.md, a line a method with the flags it is the first to have; and that of
// docs/methods.md has a line for each.
TEST(Methods, TheDocumentsNameThemAll) {
  const auto docs = testing::test_dir().parent_path() / "docs";
  const std::string text = read_file(docs / "compare.md"), which = read_file(docs / "methods.md");
  std::set<std::string> seen;
  for (const quant::MethodRow& row : quant::methods()) {
    std::string flags;
    for (const Setting& setting : row.settings) {
      if (!seen.insert(setting.name).second) continue;
      flags += cat(flags.empty() ? "" : " ", "`--", setting.name, "`");
    }
    const std::string line = cat("| `", row.name, "` | ", row.doc, " | ", flags, " |\n");
    EXPECT_NE(text.find(line), text.npos) << "expected the line\n" << line;
    EXPECT_NE(which.find(cat("\n| `", row.name, "` | ")), which.npos) << row.name;
  }
  for (const quant::Companion& companion : quant::companions()) {
    std::string flags;
    for (const Setting& setting : companion.settings)
      flags += cat(flags.empty() ? "" : " ", "`--", setting.name, "`");
    const std::string line =
        cat("| `", companion.name, "+METHOD` | ", companion.doc, " | ", flags, " |\n");
    EXPECT_NE(text.find(line), text.npos) << "expected the line\n" << line;
  }
}

}  // namespace
}  // namespace tessera::experiment
