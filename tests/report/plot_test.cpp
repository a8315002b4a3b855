// Plots of reports: axes for any numbers, curves thinned to what a picture shows, labels that
// neither lie over each other nor are cut.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "report/html/dot_plot.h"
#include "report/html/html.h"
#include "report/html/plot.h"
#include "report/html/run_curves.h"
#include "report/html/sections.h"
#include "tests/report/markup.h"

namespace tessera::experiment {
namespace {

using tessera::testing::label_error;
using tessera::testing::markup_error;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

double room(const std::string& text) {
  return 16 + text_width(text);
}

std::vector<std::string> labels(const Scale& scale, double length) {
  std::vector<std::string> out;
  for (const Tick& tick : ticks(scale, length, room)) {
    if (!tick.text.empty()) out.push_back(tick.text);
  }
  return out;
}

TEST(Axis, TicksAreRoundInsideAndApart) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(labels({0, 1.04, false}, 300), (Texts{"0", "0.2", "0.4", "0.6", "0.8", "1"}));
  EXPECT_EQ(labels({0, 1.04, false}, 90), (Texts{"0", "0.5", "1"}));
  EXPECT_EQ(labels({2300.01, 2300.05, false}, 330),
            (Texts{"2300.01", "2300.02", "2300.03", "2300.04", "2300.05"}));
  for (const Scale scale :
       {Scale{0.013, 87, true}, Scale{-3, 5e5, false}, Scale{1e-9, 2e-9, true},
        Scale{1e-140, 1e140, true}, Scale{3, 3.1, true}, Scale{0, 1e-140, false}}) {
    for (const double length : {120.0, 300.0, 830.0}) {
      double last = -INFINITY, half = 0;
      int labelled = 0;
      for (const Tick& tick : ticks(scale, length, room)) {
        EXPECT_GE(scale.at(tick.value), -1e-6);
        EXPECT_LE(scale.at(tick.value), 1 + 1e-6);
        if (tick.text.empty()) continue;
        ++labelled;
        const double at = length * scale.at(tick.value);
        EXPECT_GE(at - last, half + 0.5 * room(tick.text)) << scale.low << " " << scale.high;
        last = at;
        half = 0.5 * room(tick.text);
      }
      EXPECT_GE(labelled, length > 200 ? 3 : 1) << scale.low << " " << scale.high << " " << length;
      EXPECT_LE(labelled, 13);
    }
  }
}

// From 1 to 2 bits, and errors over one decade: 1, 2, 5 alone would leave one label.
TEST(Axis, ShortLogarithmicScalesHaveSeveralLabels) {
  for (const Scale scale : {Scale{1.05, 2.2, true}, Scale{2.1, 4.4, true}, Scale{2.05, 29, true},
                            Scale{0.6, 4, true}}) {
    EXPECT_GE(labels(scale, 320).size(), 4u) << scale.low << " " << scale.high;
  }
}

// A drawing that does not end is ended by the alarm, which is not exit code 0.
TEST(Axis, EveryScaleEndsInTime) {
  const auto draw_all = [] {
    ::alarm(20);
    const double extremes[] = {5e-324, 1e-320, 1e-300, 1e-20, 1e-5,     1,       1e5, 1e20,
                               1e300,  1e308,  -1e308, -1,    INFINITY, -1e-320, 0,   NAN};
    std::size_t drawn = 0;
    for (const double a : extremes) {
      for (const double b : extremes) {
        for (const bool log : {false, true}) {
          drawn += ticks({a, b, log}, 300, room).size();
          Plot plot({.x_label = "x",
                     .y_label = "y",
                     .x = fit_scale({a, b}, log),
                     .y = fit_scale({a, b, 1}, log)});
          plot.line({{a, b, 1, a}, {b, a, 1, b}}, 0);
          plot.bins(a, b, {1, a, b}, 1, true);
          const std::string svg = plot.svg();
          drawn += svg.size();
          if (contains(svg, "nan") || contains(svg, "inf")) ::_exit(1);
        }
      }
    }
    ::_exit(drawn > 0 ? 0 : 2);
  };
  EXPECT_EXIT(draw_all(), ::testing::ExitedWithCode(0), "");
}

TEST(Axis, ScalesHoldWhatCanBeDrawn) {
  const Scale log = fit_scale({0.1, 0, -4, NAN, INFINITY, 100}, true);
  EXPECT_TRUE(log.low > 0.03 && log.low < 0.1 && log.high > 100 && log.high < 300);
  EXPECT_LT(fit_scale({7}, false).low, 7);
  EXPECT_GT(fit_scale({7}, false).high, 7);
  EXPECT_EQ(fit_scale({}, false).high, 1);
  const Scale small = fit_scale({5e-324, 1e-20}, true);
  EXPECT_TRUE(small.low > 0 && small.low < 1e-20 && small.high > 1e-20 && small.high < 1e-19);
  EXPECT_EQ(fit_scale({-5, -2}, false, true).high, 0);
  EXPECT_TRUE(spread_wide({0.1, 50}));
  EXPECT_FALSE(spread_wide({0, 50}));
  EXPECT_FALSE(spread_wide({40, 50}));
  EXPECT_TRUE(spread_wide({4, 50}, 5));
}

TEST(Path, KeepsWhatAPictureShowsAndNoMore) {
  std::vector<Pixel> straight, spiked, noise;
  std::uint32_t random = 1;
  for (int i = 0; i < 100000; ++i) {
    const double x = 300.0 * i / 100000;
    random = random * 1664525 + 1013904223;
    straight.push_back({x, 2 * x + 1});
    spiked.push_back({x, i == 77777 ? 50.0 : 10.0});
    noise.push_back({x, 200.0 * (random >> 8) / (1 << 24)});
  }
  EXPECT_EQ(thinned(straight).size(), 2u);
  const auto kept = thinned(spiked);
  EXPECT_LE(kept.size(), 8u);
  EXPECT_TRUE(std::any_of(kept.begin(), kept.end(), [](Pixel p) { return p.y == 50; }));
  EXPECT_LE(thinned(noise).size(), 2u * 300);
  PathData path;
  path.lines({{10, 20}, {11.25, 19}, {11.25, 15.5}, {14, 15.5}});
  EXPECT_EQ(path.text(), "m10 20 1.3-1v-3.5h2.7");
  EXPECT_EQ(place(-0.04), "0");
  EXPECT_EQ(place(-0.5), "-.5");
}

TEST(Plot, LongCurvesStaySmall) {
  Points points;
  for (int i = 0; i < 50000; ++i) {
    points.x.push_back(i);
    points.y.push_back(std::exp(-i / 10000.0));
  }
  Plot plot({.x_label = "x",
             .y_label = "y",
             .x = fit_scale(points.x, false),
             .y = fit_scale(points.y, false)});
  const std::size_t before = plot.svg().size();
  plot.line(points, 0);
  EXPECT_LT(plot.svg().size() - before, 600u);
  EXPECT_EQ(markup_error(plot.svg()), "");
  EXPECT_EQ(label_error(plot.svg()), "");
}

TEST(Plot, LabelsAreInsideAndNotOverEachOther) {
  for (const double high : {1.0, 31.0, 99999.0, 1e6, 1.5e-7}) {
    for (const bool log : {false, true}) {
      const Scale scale = fit_scale({log ? high / 1000 : 0, high}, log);
      Plot plot({.x_label = "epochs", .y_label = "training loss", .x = scale, .y = scale});
      plot.line({{scale.low, high}, {scale.low, high}}, 0);
      EXPECT_EQ(label_error(plot.svg()), "") << high << " " << log;
    }
  }
}

TEST(Plot, SaysThatNothingCanBeDrawn) {
  const auto curves = parse_run_log(
      R"({"event": "epoch", "phase": "x", "epoch": 1, "loss": "nan", "lr": 0.1}
{"event": "epoch", "phase": "x", "epoch": 2, "loss": "nan", "lr": 0.1}
)",
      "log");
  Plot plot({.x_label = "x",
             .y_label = "y",
             .x = fit_scale(curves.loss.x, false),
             .y = fit_scale(curves.loss.y, false)});
  plot.line(curves.loss, 0);
  EXPECT_TRUE(contains(plot.svg(), "nothing that can be drawn"));
  EXPECT_EQ(markup_error(plot.svg()), "");
}

// More methods than colours: lines differ all the same.
TEST(Plot, ThirtySeriesDiffer) {
  std::set<std::string> lines, marks;
  for (int i = 0; i < 30; ++i) {
    lines.insert(line_class(i));
    marks.insert(mark(0, 0, i, ""));
  }
  EXPECT_EQ(lines.size(), 30u);
  EXPECT_EQ(marks.size(), 30u);
}

TEST(DotPlot, ShowsWhatIsNearTheReference) {
  const std::vector<double> errors = {27.8, 21.4, 11.2, 2.56, 2.82, 2.54, 2.47, 2.7, 2.72, 2.44};
  const double limit = near_limit(errors, 2.13);
  EXPECT_GT(limit, 2.82);
  EXPECT_LT(limit, 5);
  EXPECT_EQ(near_limit({2.5, 2.6, 2.7}, 2.1), 2.7);
  EXPECT_EQ(near_limit({1.9, 2.0}, 2.1), 2.1);
  const std::string svg = dot_plot({{"far", 0, 27.8, 0.5},
                                    {"near <&>", 1, 2.44, 0.03},
                                    {"with-a-very-long-name", 2, 3, 0},
                                    {"not-a-number", 3, NAN, 0}},
                                   2.13, "test error, %", "about");
  EXPECT_EQ(markup_error(svg), "");
  EXPECT_EQ(label_error(svg), "");
  EXPECT_LT(svg.find("near &lt;"), svg.find(">far<"));
  EXPECT_TRUE(contains(svg, ">27.80<"));
  EXPECT_TRUE(contains(svg, "<title>near &lt;&amp;&gt;: 2.44 \u00b1 0.03</title>"));
  EXPECT_FALSE(contains(svg, "<title>far"));  // an arrow, no dot
  EXPECT_FALSE(contains(svg, "with-a-very-long-name<"));
}

}  // namespace
}  // namespace tessera::experiment
