// Reports: what the loaders make of files, and that the page is whole.
#include "report/html/report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "core/files/atomic_file.h"
#include "experiment/histograms.h"
#include "report/html/html.h"
#include "report/html/sections.h"
#include "tests/datasets/temp_dir.h"
#include "tests/experiment/evaluated.h"
#include "tests/report/markup.h"

namespace tessera::experiment {
namespace {

using tessera::testing::label_error;
using tessera::testing::markup_error;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Html, TextCannotBecomeMarkup) {
  EXPECT_EQ(escaped("a<b & \"c\"\x01"), "a&lt;b &amp; &quot;c&quot;\xef\xbf\xbd");
  EXPECT_EQ(id_text("a b_c"), "a_20b_5fc");
}

TEST(Html, TablesSortByKeyAndKeepTheirTotals) {
  HtmlTable table{.caption = "c", .header = {"name", "n"}, .note = "below"};
  table.first = {{"reference", "0"}};
  table.rows = {{"a", "1"}, {"b", "2"}};
  table.last = {{"all", "3"}};
  const std::string html = table.html();
  EXPECT_EQ(markup_error(html), "");
  EXPECT_TRUE(contains(html, "<th scope=\"col\"><button type=\"button\">n</button></th>")) << html;
  EXPECT_TRUE(contains(html, "<tbody class=\"rows\">\n<tr><td class=\"left\">a</td>")) << html;
  EXPECT_TRUE(contains(html, "<tfoot>\n<tr><td class=\"left\">all</td>"));
  EXPECT_TRUE(contains(html, "tabindex=\"0\""));  // a wide table is moved by keys
  table.rows.pop_back();
  EXPECT_FALSE(contains(table.html(), "<button"));  // nothing to sort
}

TEST(Html, ValuesForOtherProgramsAreQuoted) {
  EXPECT_EQ(csv_text({{"a", "b,c"}, {"say \"x\"", "two\nlines"}}),
            "a,\"b,c\"\r\n\"say \"\"x\"\"\",\"two\nlines\"\r\n");
  const std::string link = download_link("save", "a.csv", "x,<&>\"%\r\n");
  EXPECT_EQ(link,
            "<a class=\"download\" download=\"a.csv\" "
            "href=\"data:text/csv;charset=utf-8,x,%3C%26%3E%22%25%0D%0A\">save</a>");
  EXPECT_EQ(markup_error(link), "");
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
  EXPECT_EQ(curves.measured.at("test_error").y, std::vector<double>{9});
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
  const std::string plots = weight_plots(read);
  EXPECT_EQ(markup_error(plots), "");
  EXPECT_EQ(label_error(plots), "");
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
    c.before = 2;
    c.after.all = testing::evaluated(static_cast<std::int64_t>(1000 - 10 * error), 1000);
    c.weights_bytes = 4000;
    c.effective_bits = codebook == "adaptive:2" ? 1.1 : 2.1;
    c.dense_us = {8, 9, 10};
    c.packed_us = {4.3, 22.7, 40};
    c.tensors = {{"fc1.weight", "[300,784]", "cb1", 235200, 29400, 8, 0, 0, 0},
                 {"fc1.bias", "[300]", "f32", 300, 0, 0, 0, 0, 1200}};
    c.machine = Machine{"Abacus <9>", 8, 2, "avx2", "1.2.3", "mnist compare --out 'a b'"};
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
  std::filesystem::path page() const { return folder.path() / "page.html"; }

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
  EXPECT_EQ(label_error(page), "");
  for (const char* outside : {"http:", "https:", "src=", "@import", "url("}) {
    EXPECT_FALSE(contains(page, outside)) << outside;
  }
  EXPECT_EQ(report_html(load_report(folder.path())), page);
  EXPECT_EQ(load_report(folder.path(), {names[2]}).networks[0].runs.size(), 1u);
}

TEST_F(ReportPage, SaysWithWhatItWasMadeAndWhatBytesAreFor) {
  for (const std::int64_t seed : {1, 2}) {
    store("lc", "adaptive:2", seed, 3);
    store("dc", "adaptive:2", seed, 40);
    store("lc", "adaptive:4", seed, 2.5);
  }
  const std::string page = report_html(load_report(folder.path()));
  EXPECT_EQ(markup_error(page), "");
  EXPECT_EQ(label_error(page), "");
  EXPECT_TRUE(
      contains(page, "Measured on Abacus &lt;9&gt;, 2 threads of 8 cores, avx2, Tessera 1.2.3"));
  EXPECT_TRUE(contains(page, "<code>mnist compare --out 'a b'</code>"));
  // The least of the rounds, the median beside it; two kinds of runs have a mark and its meaning.
  EXPECT_TRUE(contains(page, "<td>8.0 <span class=\"soft\">(9.0)</span></td>"));
  EXPECT_TRUE(contains(page, "<td>4.3~ <span class=\"soft\">(22.7)</span></td>"));
  EXPECT_TRUE(contains(page, "~ unstable: "));
  EXPECT_TRUE(contains(page, "<td>29,400</td><td>8</td><td>0</td><td>29,408</td>"));
  EXPECT_TRUE(contains(page, "<td>29,400</td><td>8</td><td>1,200</td><td>30,608</td>"));  // all
  // Far from the reference: an arrow in the plot beside it, and a logarithmic axis over all.
  EXPECT_TRUE(contains(page, "Near the reference"));
  EXPECT_TRUE(contains(page, ">40.00<"));
  EXPECT_TRUE(contains(page, ">30</tspan>") && contains(page, ">3</tspan>"));
  // Both drawings of the trade-off, of which the width of the page chooses one.
  EXPECT_TRUE(contains(page, "figure class=\"narrow\"") && contains(page, "big roomy"));
  EXPECT_TRUE(contains(page, "<button type=\"button\">method</button>"));
  const std::size_t csv = page.find("href=\"data:text/csv");
  ASSERT_NE(csv, page.npos);
  const std::string data = page.substr(csv, page.find("\">", csv) - csv);
  std::size_t lines = 0;
  for (std::size_t at = 0; (at = data.find("%0D%0A", at)) != data.npos; ++at) ++lines;
  EXPECT_EQ(lines, 7u);
  EXPECT_TRUE(contains(data, "Abacus%20%3C9%3E,2,avx2,1.2.3"));
}

TEST_F(ReportPage, WhatARunAddsIsSmall) {
  const auto log = [&](const std::string& name) {
    std::string text = R"({"event": "begin", "phase": "lc", "epoch": 0})"
                       "\n";
    for (int i = 1; i <= 3000; ++i) {
      const double loss = std::exp(-i / 500.0);
      text += cat(R"({"event": "epoch", "phase": "lc", "epoch": )", i, R"(, "loss": )", loss,
                  R"(, "lr": 0.1})", "\n", R"({"event": "c_step", "phase": "lc", "epoch": )", i,
                  R"(, "distance": )", 0.5 + 0.1 * loss, R"(, "test_error": )", 3 + loss, "}\n");
    }
    folder.write(name + ".log.jsonl", text);
  };
  store("lc", "adaptive:2", 1, 3);
  log(names.back());
  const std::size_t one = report_html(load_report(folder.path())).size();
  for (const std::int64_t seed : {2, 3}) {
    store("lc", "adaptive:2", seed, 3);
    log(names.back());
  }
  EXPECT_LT(report_html(load_report(folder.path())).size() - one, 2 * 9000u);
}

TEST_F(ReportPage, LossesOfAnySizeAndNoNumberAtAll) {
  store("lc", "adaptive:2", 1, 3);
  folder.write(names[0] + ".log.jsonl", R"({"event": "begin", "phase": "lc", "epoch": 0}
{"event": "epoch", "phase": "lc", "epoch": 1, "loss": 1e-20, "lr": 5e-324}
{"event": "epoch", "phase": "lc", "epoch": 2, "loss": 5e-324, "lr": 1e-20}
{"event": "epoch", "phase": "lc", "epoch": 3, "loss": "nan", "lr": 1e308}
)");
  ::alarm(20);  // where ticks or samples never end
  const std::string html = report_html(load_report(folder.path()));
  ::alarm(0);
  EXPECT_EQ(markup_error(html), "");
  EXPECT_TRUE(contains(html, "not finite at epoch 3"));
  EXPECT_FALSE(contains(html, "d=\"mnan"));
}

TEST_F(ReportPage, RunsWithoutAResultShowHowFarTheyCame) {
  const std::string log =
      R"({"event": "begin", "phase": "lc", "epoch": 0, "epochs": 30, "seed": 2, "method": "lc", "codebook": "adaptive:2", "group_rows": 0, "sparse": 0.0}
{"event": "epoch", "phase": "lc", "epoch": 1, "epochs": 30, "loss": 0.5, "lr": 0.1}
{"event": "epoch", "phase": "lc", "epoch": 2, "epochs": 30, "loss": 0.4, "lr": 0.1}
)";
  folder.write("net-lc-adaptive2-s2.log.jsonl", log);
  folder.write("net-reference-s2.log.jsonl",
               R"({"event": "begin", "phase": "train", "epoch": 0, "epochs": 60, "seed": 2})");
  // Alone, and beside one that is done.
  for (const bool beside : {false, true}) {
    if (beside) store("lc", "adaptive:2", 1, 3);
    const Report report = load_report(folder.path());
    ASSERT_EQ(report.networks.size(), 1u);
    EXPECT_EQ(report.networks[0].prefix, "net");
    ASSERT_EQ(report.networks[0].runs.size(), beside ? 2u : 1u);
    const ComparedRun& run = report.networks[0].runs.back();
    EXPECT_TRUE(run.unfinished);
    EXPECT_EQ(run.problem, "not finished: 2 of 30 epochs done");
    EXPECT_EQ(report.problems,
              std::vector<std::string>{"net-reference-s2: not finished: 0 of 60 epochs done"});
    const std::string html = report_html(report);
    EXPECT_EQ(markup_error(html), "");
    EXPECT_EQ(label_error(html), "");
    EXPECT_TRUE(contains(html, "Training loss"));
    EXPECT_EQ(contains(html, "s&amp;t"), beside);  // what finished runs share stays in the settings
  }
}

TEST_F(ReportPage, ReferencesAndSensitivitiesAlone) {
  const Results results(folder.path(), Results::Existing::reuse);
  results.store("net-sensitivity-loss-s1", {{"network", "a"}, {"sensitivity", "loss"}},
                {{"costs", Json::object()}});
  results.store("net-reference-s1", {{"network", "a"}, {"seed", "1"}}, [] {
    Measured measured;
    measured.all = testing::evaluated(975, 1000);
    Json out = measured.json();
    out["weights_bytes"] = 1000;
    return out;
  }());
  const Report report = load_report(folder.path());
  ASSERT_EQ(report.networks.size(), 1u);
  EXPECT_EQ(report.networks[0].references.size(), 1u);
  const std::string html = report_html(report);
  EXPECT_EQ(markup_error(html), "");
  EXPECT_TRUE(contains(html, "2.50 %"));
}

TEST_F(ReportPage, DozensOfMethods) {
  for (int m = 0; m < 40; ++m) {
    for (const char* codebook : {"adaptive:2", "adaptive:4"}) {
      store(cat("method-with-a-long-name-", m), codebook, 1, 2.5 + 0.1 * m);
    }
  }
  const std::string html = report_html(load_report(folder.path()));
  EXPECT_EQ(markup_error(html), "");
  EXPECT_EQ(label_error(html), "");
  EXPECT_TRUE(contains(html, "dash3"));
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

TEST_F(ReportPage, LeavesOutADamagedResultAndNamesIt) {
  store("lc", "adaptive:2", 1, 3);
  store("lc", "adaptive:2", 2, 3);
  const auto damaged = folder.path() / (names[0] + ".result");
  write_file(damaged, read_file(damaged).substr(0, 100));
  const Report report = load_report(folder.path());
  ASSERT_EQ(report.networks.size(), 1u);
  ASSERT_EQ(report.networks[0].runs.size(), 1u);
  EXPECT_EQ(report.networks[0].runs[0].seed, 2);
  EXPECT_EQ(report.damaged, 1);
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_TRUE(contains(report.problems[0], damaged.string()));
}

}  // namespace
}  // namespace tessera::experiment
