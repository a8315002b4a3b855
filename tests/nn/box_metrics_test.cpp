// COCO's measures of boxes against a slow second implementation, which follows the definition
// instead of the evaluator's arrays.
#include "nn/box_metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/rng.h"
#include "tests/error_of.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;

struct Picture {
  std::vector<TrueBox> truth;
  std::vector<DetectedBox> detections;
};
using Pictures = std::map<std::int64_t, Picture>;

struct Judged {
  double score;
  bool right, counts;
};

// One category at one overlap, size and number of detections: precision at 101 recalls, and recall.
struct Slow {
  std::vector<double> precision;
  double recall = 0;
};
std::optional<Slow> slow(const Pictures& pictures, std::int64_t category, double overlap,
                         double low, double high, std::size_t most) {
  std::vector<Judged> all;
  int objects = 0;
  for (const auto& [id, picture] : pictures) {
    std::vector<TrueBox> counted, others;  // in the order in which they are offered
    for (const TrueBox& t : picture.truth) {
      if (t.category != category) continue;
      (t.crowd || t.area < low || t.area > high ? others : counted).push_back(t);
    }
    objects += static_cast<int>(counted.size());
    std::vector<DetectedBox> found;
    for (const DetectedBox& d : picture.detections)
      if (d.category == category) found.push_back(d);
    std::stable_sort(found.begin(), found.end(),
                     [](const auto& a, const auto& b) { return b.score < a.score; });
    if (found.size() > most) found.resize(most);
    std::vector<bool> used(counted.size()), used_others(others.size());
    for (const DetectedBox& d : found) {
      // The best of what counts, else the best of the others; the last of equals.
      const auto best = [&](const std::vector<TrueBox>& from, const std::vector<bool>& gone) {
        int at = -1;
        double most_so_far = std::min(overlap, 1 - 1e-10);
        for (std::size_t i = 0; i < from.size(); ++i) {
          if (gone[i] && !from[i].crowd) continue;
          const double iou = intersection_over_union(d.box, from[i].box, from[i].crowd);
          if (iou >= most_so_far) at = static_cast<int>(i), most_so_far = iou;
        }
        return at;
      };
      bool matched = false, ignored = false;
      if (const int i = best(counted, used); i >= 0) {
        used[static_cast<std::size_t>(i)] = true;
        matched = counted[static_cast<std::size_t>(i)].id != 0;
      } else if (const int j = best(others, used_others); j >= 0) {
        used_others[static_cast<std::size_t>(j)] = true;
        matched = others[static_cast<std::size_t>(j)].id != 0;
        ignored = true;
      }
      if (!matched && (d.box.area() < low || d.box.area() > high)) ignored = true;
      all.push_back({d.score, matched, !ignored});
    }
  }
  if (objects == 0) return std::nullopt;
  std::stable_sort(all.begin(), all.end(),
                   [](const Judged& a, const Judged& b) { return b.score < a.score; });
  std::vector<std::pair<double, double>> points;  // recall, precision
  double right = 0, wrong = 0;
  for (const Judged& j : all) {
    right += j.counts && j.right;
    wrong += j.counts && !j.right;
    points.emplace_back(right / objects,
                        right / (right + wrong + std::numeric_limits<double>::epsilon()));
  }
  Slow out;
  if (!points.empty()) out.recall = points.back().first;
  for (int r = 0; r <= 100; ++r) {
    double best = 0;
    for (const auto& [recall, precision] : points)
      if (recall >= (r == 100 ? 1.0 : r * 0.01)) best = std::max(best, precision);
    out.precision.push_back(best);
  }
  return out;
}

// The mean over categories and overlaps; -1 where there is none.
double slow_mean(const Pictures& pictures, const std::vector<std::int64_t>& categories,
                 std::vector<int> overlaps, double low, double high, std::size_t most,
                 bool precision) {
  double sum = 0, n = 0;
  for (const std::int64_t category : categories) {
    for (const int t : overlaps) {
      const double overlap = t == 9 ? 0.95 : t * ((0.95 - 0.5) / 9) + 0.5;
      const auto one = slow(pictures, category, overlap, low, high, most);
      if (!one) continue;
      if (!precision) {
        sum += one->recall, n += 1;
        continue;
      }
      for (const double p : one->precision) sum += p, n += 1;
    }
  }
  return n == 0 ? -1 : sum / n;
}

const std::vector<int> kAll = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

// A few pictures with boxes on a coarse grid, so that overlaps and scores are often equal; crowds,
// ids of 0, areas that are not the box's, boxes without area, categories without objects.
Pictures random_pictures(std::uint64_t seed, std::span<const std::int64_t> categories) {
  Rng rng(seed, 1);
  const auto box = [&] {
    return Box{10.0 * static_cast<double>(rng.below(8)), 10.0 * static_cast<double>(rng.below(8)),
               8.0 * static_cast<double>(rng.below(15)), 8.0 * static_cast<double>(rng.below(15))};
  };
  const auto category = [&] { return categories[rng.below(categories.size())]; };
  Pictures out;
  std::int64_t id = 0;  // the first annotation has 0
  for (std::int64_t image = 0; image < 1 + static_cast<std::int64_t>(rng.below(5)); ++image) {
    Picture& picture = out[static_cast<std::int64_t>(rng.below(1000))];
    for (std::uint64_t i = rng.below(7); i > 0; --i) {
      TrueBox t{box(), category(), 0, rng.below(6) == 0, id++};
      t.area = rng.below(3) == 0 ? t.box.area() : 0.7 * t.box.area();
      picture.truth.push_back(t);
    }
    for (std::uint64_t i = rng.below(14); i > 0; --i) {
      DetectedBox d{box(), category(), 0.1 * static_cast<double>(rng.below(10))};
      if (!picture.truth.empty() && rng.below(2) == 0) {
        d.box = picture.truth[rng.below(picture.truth.size())].box;
        d.box.width += static_cast<double>(rng.below(20));
      }
      picture.detections.push_back(d);
    }
  }
  return out;
}

TEST(BoxMetrics, AThousandRandomSetsAgreeWithTheDefinition) {
  const std::vector<std::int64_t> categories = {3, 1, 90};
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const Pictures pictures =
        random_pictures(seed, std::span(categories).first(1 + seed % categories.size()));
    BoxEvaluation evaluation(categories);
    // In another order than that of the numbers, which decides between equal scores.
    for (auto at = pictures.rbegin(); at != pictures.rend(); ++at)
      evaluation.add(at->first, at->second.truth, at->second.detections);
    const BoxMetrics m = evaluation.metrics();
    const auto ap = [&](std::vector<int> overlaps, double low, double high) {
      return slow_mean(pictures, categories, overlaps, low, high, 100, true);
    };
    const auto ar = [&](double low, double high, std::size_t most) {
      return slow_mean(pictures, categories, kAll, low, high, most, false);
    };
    const double s = 32 * 32, l = 96 * 96, top = 1e10;
    ASSERT_NEAR(m.ap, ap(kAll, 0, top), 1e-12) << seed;
    ASSERT_NEAR(m.ap50, ap({0}, 0, top), 1e-12) << seed;
    ASSERT_NEAR(m.ap75, ap({5}, 0, top), 1e-12) << seed;
    ASSERT_NEAR(m.ap_small, ap(kAll, 0, s), 1e-12) << seed;
    ASSERT_NEAR(m.ap_medium, ap(kAll, s, l), 1e-12) << seed;
    ASSERT_NEAR(m.ap_large, ap(kAll, l, top), 1e-12) << seed;
    ASSERT_NEAR(m.ar1, ar(0, top, 1), 1e-12) << seed;
    ASSERT_NEAR(m.ar10, ar(0, top, 10), 1e-12) << seed;
    ASSERT_NEAR(m.ar100, ar(0, top, 100), 1e-12) << seed;
    ASSERT_NEAR(m.ar_small, ar(0, s, 100), 1e-12) << seed;
    ASSERT_NEAR(m.ar_medium, ar(s, l, 100), 1e-12) << seed;
    ASSERT_NEAR(m.ar_large, ar(l, top, 100), 1e-12) << seed;
    for (const std::int64_t category : categories) {
      ASSERT_NEAR(m.category_ap.at(category),
                  slow_mean(pictures, {category}, kAll, 0, top, 100, true), 1e-12)
          << seed;
    }
  }
}

// The cases that implementations get wrong, one by one.
TEST(BoxMetrics, TheRulesThatAreEasilyMissed) {
  const std::vector<std::int64_t> categories = {1};
  const auto ap50 = [&](std::vector<TrueBox> truth, std::vector<DetectedBox> found) {
    BoxEvaluation evaluation(categories);
    evaluation.add(7, truth, found);
    return evaluation.metrics().ap50;
  };
  const Box a{0, 0, 40, 40}, b{100, 100, 40, 40};
  const TrueBox real{a, 1, 1600, false, 1}, second{b, 1, 1600, false, 2};
  EXPECT_NEAR(ap50({real}, {{a, 1, 0.5}}), 1, 1e-12);
  EXPECT_EQ(ap50({}, {{a, 1, 0.5}}), -1);  // nothing to be found
  EXPECT_EQ(ap50({real}, {}), 0);
  TrueBox zero = real;
  zero.id = 0;
  EXPECT_EQ(ap50({zero}, {{a, 1, 0.5}}), 0);
  // A crowd takes any number of detections, by the share of each that is in it.
  const TrueBox crowd{{90, 90, 400, 400}, 1, 160000, true, 3};
  EXPECT_NEAR(ap50({real, crowd}, {{b, 1, 0.9}, {b, 1, 0.8}, {a, 1, 0.5}}), 1, 1e-12);
  EXPECT_LT(ap50({real, second}, {{b, 1, 0.9}, {b, 1, 0.8}, {a, 1, 0.5}}), 0.9);
  // Of equal overlaps the later object is taken, which leaves the other for who fits it alone.
  const TrueBox left{{0, 0, 40, 40}, 1, 1600, false, 4}, right{{20, 0, 40, 40}, 1, 1600, false, 5};
  const std::vector<DetectedBox> between = {{{10, 0, 40, 40}, 1, 0.9}, {left.box, 1, 0.8}};
  EXPECT_NEAR(ap50({left, right}, between), 1, 1e-12);
  EXPECT_LT(ap50({right, left}, between), 0.9);
  // A detection of a category that there is not is none.
  EXPECT_NEAR(ap50({real}, {{a, 2, 0.9}, {a, 1, 0.5}}), 1, 1e-12);
}

TEST(BoxMetrics, RefusesWhatIsNoBox) {
  const std::vector<std::int64_t> categories = {1};
  BoxEvaluation evaluation(categories);
  const double nan = std::nan("");
  const auto error = [&](TrueBox t, DetectedBox d) {
    const std::vector<TrueBox> truth = {t};
    const std::vector<DetectedBox> found = {d};
    return error_of([&] { evaluation.add(5, truth, found); });
  };
  const TrueBox truth{{0, 0, 4, 4}, 1, 16, false, 9};
  const DetectedBox found{{0, 0, 4, 4}, 1, 0.5};
  TrueBox other = truth, broken = truth;
  other.category = 2;
  broken.area = nan;
  DetectedBox lost = found;
  lost.box.x = nan;
  EXPECT_EQ(error(other, found), "annotation 9 of image 5: there is no category 2");
  EXPECT_EQ(error(broken, found), "annotation 9 of image 5: its box or area is not finite");
  EXPECT_EQ(error(truth, lost), "a detection in image 5: its box or score is not finite");
  EXPECT_EQ(error(truth, found), "no error");
  EXPECT_EQ(error(truth, found), "image 5 is evaluated twice");
}

}  // namespace
}  // namespace tessera::nn
