// Reports: what the loaders make of files, the axes, and that the page is whole.
#include "apps/common/report/report.h"

#include <gtest/gtest.h>

#include <cmath>

#include "apps/common/histograms.h"
#include "apps/common/report/html.h"
#include "apps/common/report/sections.h"
#include "core/files/atomic_file.h"
#include "tests/apps/markup.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::apps {
namespace {

using tessera::testing::markup_error;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Axis, TicksAreRoundAndInside) {
  std::vector<std::string> texts;
  for (const Tick& tick : ticks({0, 1.04, false}, 5)) texts.push_back(tick.text);
  EXPECT_EQ(texts, (std::vector<std::string>{"0", "0.5", "1"}));
  for (const Scale scale :
       {Scale{0.013, 87, true}, Scale{-3, 5e5, false}, Scale{1e-9, 2e-9, true}}) {
    const auto all = ticks(scale, 6);
    EXPECT_GE(all.size(), 2u);
    EXPECT_LE(all.size(), 40u);
    int labelled = 0;
    for (const Tick& tick : all) {
      EXPECT_GE(scale.at(tick.value), -1e-6);
      EXPECT_LE(scale.at(tick.value), 1 + 1e-6);
      labelled += !tick.text.empty();
    }
    EXPECT_GE(labelled, 1);
    EXPECT_LE(labelled, 9);
  }
}

TEST(Axis, ScalesHoldWhatCanBeDrawn) {
  const Scale log = fit_scale({0.1, 0, -4, NAN, INFINITY, 100}, true);
  EXPECT_TRUE(log.low > 0.03 && log.low < 0.1 && log.high > 100 && log.high < 300);
  EXPECT_LT(fit_scale({7}, false).low, 7);
  EXPECT_GT(fit_scale({7}, false).high, 7);
  EXPECT_EQ(fit_scale({}, false).high, 1);
  EXPECT_TRUE(spread_wide({0.1, 50}));
  EXPECT_FALSE(spread_wide({0, 50}));
  EXPECT_FALSE(spread_wide({40, 50}));
}

TEST(Html, TextCannotBecomeMarkup) {
  EXPECT_EQ(escaped("a<b & \"c\"\x01"), "a&lt;b &amp; &quot;c&quot;\xef\xbf\xbd");
  EXPECT_EQ(id_text("a b_c"), "a_20b_5fc");
}

TEST(RunLogFile, AnyNumberOfAnyEventIsACurve) {
  const auto curves = parse_run_log(
      R"({"event": "begin", "phase": "x", "epoch": 0, "seed": 3}
{"event": "epoch", "phase": "x", "epoch": 1, "loss": 2.5, "lr": 0.1, "test_error": 9}
{"event": "coefficients", "phase": "x", "epoch": 1, "seed": 3, "fc1.weight.task_norm": 4, "fc1.weight.coefficient": "nan"}
{"event": "coefficients", "phase": "x", "epoch": 2, "fc1.weight.task_norm": 5, "fc2.weight.task_norm": 6}
{"event": "objectives", "phase": "x", "epoch": 2, "penalty": 7}
)",
      "log");
  EXPECT_EQ(curves.loss.y, std::vector<double>{2.5});
  EXPECT_EQ(curves.test_error.y, std::vector<double>{9});
  const Points* norm = curves.find("coefficients", "task_norm", "fc1.weight");
  ASSERT_TRUE(norm);
  EXPECT_EQ(norm->x, (std::vector<double>{1, 2}));
  EXPECT_EQ(norm->y, (std::vector<double>{4, 5}));
  EXPECT_TRUE(curves.find("coefficients", "task_norm", "fc2.weight"));
  EXPECT_FALSE(curves.find("coefficients", "coefficient", "fc1.weight"));
  EXPECT_FALSE(curves.find("coefficients", "seed"));
  EXPECT_TRUE(curves.find("objectives", "penalty"));
  const std::string plots = event_plots(curves);
  EXPECT_EQ(markup_error(plots), "");
  EXPECT_TRUE(contains(plots, "Norm of the task"));
  EXPECT_TRUE(contains(plots, "fc2.weight"));
}

TEST(RunLogFile, WhatAResumedRunRepeatsCountsOnce) {
  const std::string first =
      R"({"event": "begin", "phase": "x", "epoch": 0}
{"event": "c_step", "epoch": 0, "distance": 1}
{"event": "epoch", "phase": "x", "epoch": 1, "loss": 10}
{"event": "epoch", "phase": "x", "epoch": 2, "loss": 20}
{"event": "c_step", "epoch": 2, "distance": 2}
{"event": "epoch", "phase": "x", "epo)";
  const std::string second = R"(
{"event": "begin", "phase": "x", "epoch": 1}
{"event": "epoch", "phase": "x", "epoch": 2, "loss": 21}
{"event": "begin", "phase": "y", "epoch": 0}
{"event": "epoch", "phase": "y", "epoch": 1, "loss": 30}
)";
  const auto curves = parse_run_log(first + second, "log");
  EXPECT_EQ(curves.unreadable_lines, 1);
  EXPECT_EQ(curves.loss.x, (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(curves.loss.y, (std::vector<double>{10, 21, 30}));
  EXPECT_EQ(curves.find("c_step", "distance")->y, std::vector<double>{1});
}

TEST(Histograms, CountEveryWeightOnce) {
  quant::CodebookTensor c;
  c.shape = Shape{4, 3};
  c.format.bits = 1;
  c.format.group_rows = 2;
  c.k = 2;
  c.entries = {-1, 1, -2, 2};
  c.indices = {0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1};
  State before, after;
  std::vector<float> w(12);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i) / 10 - 3;
  before.set("w", Tensor::from(w, Shape{4, 3}));
  after.set("w", Tensor::from(std::vector<float>(12, 5.0f), Shape{4, 3}));
  const tessera::datasets::TempDir folder;
  folder.write("h.json", json_text(weight_histograms(before, after, {{"w", c}})));
  const auto read = read_histograms(folder.path() / "h.json");
  ASSERT_EQ(read.size(), 1u);
  const TensorHistogram& h = read[0];
  EXPECT_EQ(h.low, -3);
  EXPECT_EQ(h.high, 5);
  EXPECT_EQ(h.groups, 2);
  EXPECT_EQ(h.counts, (std::vector<double>{2, 4, 1, 5}));
  EXPECT_EQ(h.entries, (std::vector<double>{-1, 1, -2, 2}));
  double n = 0;
  for (const double bin : h.reference) n += bin;
  EXPECT_EQ(n, 12);
  EXPECT_EQ(h.after.back(), 12);
  EXPECT_EQ(markup_error(weight_plots(read)), "");
  folder.write("bad.json", R"({"format": "tessera.histograms", "tensors": [{"name": "w"}]})");
  EXPECT_THROW(read_histograms(folder.path() / "bad.json"), Error);
}

class ReportPage : public ::testing::Test {
 protected:
  // A stored run of a method that nobody knows, with a name that would break a page.
  void store(const std::string& method, const std::string& codebook, std::int64_t seed,
             double error, double sparse = 0) {
    Compression c;
    c.variant = {method, codebook, 0, sparse};
    c.file = "x.json";
    c.seed = seed;
    c.epochs = 5;
    c.error_before = 2;
    c.after.classes = 10;
    c.after.all.samples = 1000;
    c.after.all.correct = static_cast<std::int64_t>(1000 - 10 * error);
    c.after.all.accuracy = static_cast<double>(c.after.all.correct) / 1000;
    c.weights_bytes = 4000;
    c.effective_bits = codebook == "adaptive:2" ? 1.1 : 2.1;
    const std::string name = cat("net-", c.variant.slug(), "-s", seed);
    Results(folder.path(), Results::Existing::reuse).store(name, config(c.variant, seed), c.json());
    names.push_back(name);
  }
  static Config config(const Variant& variant, std::int64_t seed) {
    Config out = {{"network", "a<b>"},
                  {"method", variant.method},
                  {"codebook", variant.codebook},
                  {"seed", std::to_string(seed)},
                  {"same", "s&t"}};
    if (variant.sparse > 0) out["sparse"] = exact(variant.sparse);
    return out;
  }
  tessera::datasets::TempDir folder;
  std::vector<std::string> names;
};

TEST_F(ReportPage, HoldsEveryRunAndIsWellFormed) {
  for (const std::int64_t seed : {1, 2}) {
    store("lc", "adaptive:2", seed, 3);
    store("lc", "adaptive:4", seed, 2.5);
    store("new<est>", "adaptive:2", seed, 2.7);
  }
  const Variant broken{"new<est>", "adaptive:4", 0};
  Results(folder.path(), Results::Existing::reuse)
      .store_problem(cat("net-", broken.slug(), "-s1"), config(broken, 1), "k > weights & <more>");
  folder.write(names[0] + ".log.jsonl",
               R"({"event": "begin", "phase": "lc", "epoch": 0}
{"event": "epoch", "phase": "lc", "epoch": 1, "loss": 0.5, "lr": 0.1}
{"event": "c_step", "phase": "lc", "epoch": 1, "distance": 0.5, "test_error": 7, "w.distance": 0.25}
)");
  folder.write(names[1] + ".histograms.json", "{broken");
  const Report report = load_report(folder.path());
  ASSERT_EQ(report.networks.size(), 1u);
  const NetworkReport& network = report.networks[0];
  ASSERT_EQ(network.runs.size(), 7u);
  EXPECT_EQ(network.prefix, "net");
  EXPECT_EQ(network.runs[0].variant.codebook, "adaptive:2");
  EXPECT_EQ(network.runs[0].variant.method, "lc");  // known methods first
  EXPECT_EQ(network.details[0].curves.loss.y, std::vector<double>{0.5});
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_TRUE(contains(report.problems[0], "histograms.json"));

  const ComparisonGrid grid(network.runs);
  EXPECT_EQ(grid.best(0), 1u);
  EXPECT_EQ(grid.best(1), 0u);  // the other has a seed that failed

  const std::string page = report_html(report);
  EXPECT_EQ(markup_error(page), "");
  for (const std::string& name : names) {
    EXPECT_TRUE(contains(page, "id=\"" + run_id(name) + "\"")) << name;
  }
  EXPECT_TRUE(contains(page, "k &gt; weights &amp; &lt;more&gt;"));
  EXPECT_FALSE(contains(page, "new<est>"));
  for (const char* outside : {"http:", "https:", "src=", "@import", "url("}) {
    EXPECT_FALSE(contains(page, outside)) << outside;
  }
  EXPECT_EQ(report_html(load_report(folder.path())), page);
  EXPECT_EQ(load_report(folder.path(), {names[2]}).networks[0].runs.size(), 1u);
}

TEST_F(ReportPage, RunsWithACorrectionAreAColumnOfTheSameNetwork) {
  store("lc", "adaptive:2", 1, 3);
  store("lc", "adaptive:2", 1, 2.5, 0.01);
  const Report report = load_report(folder.path());
  ASSERT_EQ(report.networks.size(), 1u);
  const ComparisonGrid grid(report.networks[0].runs);
  ASSERT_EQ(grid.columns().size(), 2u);
  EXPECT_EQ(column_title(grid.columns()[0]), "1 bit");
  EXPECT_EQ(column_title(grid.columns()[1]), "1 bit, tensor + 1 % sparse");
}

TEST_F(ReportPage, RefusesWhatIsNoResult) {
  EXPECT_THROW(load_report(folder.path()), Error);
  EXPECT_THROW(load_report(folder.path() / "nowhere"), Error);
  folder.write("x.result", "{}");
  EXPECT_THROW(load_report(folder.path()), Error);
}

}  // namespace
}  // namespace tessera::apps
