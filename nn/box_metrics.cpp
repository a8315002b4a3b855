#include "nn/box_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tessera::nn {

namespace {

constexpr std::size_t kMostDetections = 100;
constexpr double kAreas[][2] = {{0, 1e10}, {0, 32 * 32}, {32 * 32, 96 * 96}, {96 * 96, 1e10}};

// As numpy's linspace makes them, rounding included: equal overlaps and recalls count.
double overlap(int i) {
  constexpr double kStep = (0.95 - 0.5) / 9;
  return i == 9 ? 0.95 : i * kStep + 0.5;
}
double recall_point(std::size_t i) {
  return i == 100 ? 1.0 : static_cast<double>(i) * 0.01;
}

// Order of n things by `before`, stable.
template <class Before>
std::vector<std::size_t> order(std::size_t n, Before before) {
  std::vector<std::size_t> out(n);
  std::iota(out.begin(), out.end(), 0u);
  std::stable_sort(out.begin(), out.end(), before);
  return out;
}

// The mean of what there is.
class Mean {
 public:
  void add(double value) {
    sum_ += value;
    n_ += 1;
  }
  double value() const { return n_ == 0 ? -1 : sum_ / n_; }

 private:
  double sum_ = 0, n_ = 0;
};

bool finite(const Box& box) {
  return std::isfinite(box.x) && std::isfinite(box.y) && std::isfinite(box.width) &&
         std::isfinite(box.height);
}

}  // namespace

std::vector<Metric> BoxMetrics::metrics() const {
  std::vector<Metric> out;
  const auto put = [&](const char* name, double value) {
    out.push_back({name, value < 0 ? value : 100 * value, "%", false, 2});
  };
  put("AP", ap);
  put("AP50", ap50);
  put("AP75", ap75);
  put("APsmall", ap_small);
  put("APmedium", ap_medium);
  put("APlarge", ap_large);
  put("AR1", ar1);
  put("AR10", ar10);
  put("AR100", ar100);
  put("ARsmall", ar_small);
  put("ARmedium", ar_medium);
  put("ARlarge", ar_large);
  return out;
}

BoxEvaluation::BoxEvaluation(std::span<const std::int64_t> categories) {
  for (const std::int64_t category : categories) categories_[category];
}

void BoxEvaluation::add(std::int64_t image, std::span<const TrueBox> truth,
                        std::span<const DetectedBox> detections) {
  check(!images_.contains(image), "image ", image, " is evaluated twice");
  std::map<std::int64_t, std::vector<TrueBox>> true_boxes;
  std::map<std::int64_t, std::vector<DetectedBox>> detected;
  for (const TrueBox& box : truth) {
    check(categories_.contains(box.category), "annotation ", box.id, " of image ", image,
          ": there is no category ", box.category);
    check(finite(box.box) && std::isfinite(box.area), "annotation ", box.id, " of image ", image,
          ": its box or area is not finite");
    true_boxes[box.category].push_back(box);
  }
  for (const DetectedBox& box : detections) {
    check(finite(box.box) && !std::isnan(box.score), "a detection in image ", image,
          ": its box or score is not finite");
    if (categories_.contains(box.category)) detected[box.category].push_back(box);
  }
  images_[image] = true;
  for (auto& [category, sizes] : categories_) {
    auto& found = detected[category];
    const auto& there = true_boxes[category];
    if (found.empty() && there.empty()) continue;
    std::stable_sort(found.begin(), found.end(),
                     [](const DetectedBox& a, const DetectedBox& b) { return a.score > b.score; });
    if (found.size() > kMostDetections) found.resize(kMostDetections);
    for (std::size_t s = 0; s < kSizes; ++s)
      sizes[s].emplace(image, matched(there, found, kAreas[s][0], kAreas[s][1]));
  }
}

BoxEvaluation::Image BoxEvaluation::matched(std::span<const TrueBox> truth,
                                            std::span<const DetectedBox> detections,
                                            double least_area, double most_area) {
  const auto outside = [&](double area) { return area < least_area || area > most_area; };
  const auto ignored = [&](const TrueBox& t) { return t.crowd || outside(t.area); };
  // What counts comes first: a match with it is never given up for one that does not.
  const auto places = order(truth.size(), [&](std::size_t a, std::size_t b) {
    return ignored(truth[a]) < ignored(truth[b]);
  });
  Image out;
  for (const TrueBox& t : truth) out.objects += !ignored(t);
  for (const DetectedBox& d : detections) out.found.push_back({d.score, 0, 0});

  std::vector<double> overlaps(truth.size() * detections.size());
  for (std::size_t d = 0; d < detections.size(); ++d) {
    for (std::size_t g = 0; g < truth.size(); ++g) {
      const TrueBox& t = truth[places[g]];
      overlaps[d * truth.size() + g] = intersection_over_union(detections[d].box, t.box, t.crowd);
    }
  }
  for (int t = 0; t < kOverlaps; ++t) {
    const auto bit = static_cast<std::uint16_t>(1 << t);
    std::vector<bool> taken(truth.size());
    for (std::size_t d = 0; d < detections.size(); ++d) {
      double best = std::min(overlap(t), 1 - 1e-10);
      const TrueBox* match = nullptr;
      std::size_t at = 0;
      for (std::size_t g = 0; g < truth.size(); ++g) {
        const TrueBox& candidate = truth[places[g]];
        if (taken[g] && !candidate.crowd) continue;
        if (match && !ignored(*match) && ignored(candidate)) break;
        const double iou = overlaps[d * truth.size() + g];
        if (iou < best) continue;  // of equal ones the later
        best = iou;
        match = &candidate;
        at = g;
      }
      Found& found = out.found[d];
      if (match) {
        taken[at] = true;
        // COCO keeps the annotation's id as the mark of a match, so that 0 is none.
        if (match->id != 0) found.matched |= bit;
        if (ignored(*match)) found.ignored |= bit;
      }
      if (!(found.matched & bit) && outside(detections[d].box.area())) found.ignored |= bit;
    }
  }
  return out;
}

bool BoxEvaluation::summed(const std::map<std::int64_t, Image>& images, std::size_t most,
                           Point& out) {
  std::vector<Found> all;
  std::int64_t objects = 0;
  for (const auto& [image, one] : images) {
    objects += one.objects;
    all.insert(all.end(), one.found.begin(),
               one.found.begin() + static_cast<std::ptrdiff_t>(std::min(most, one.found.size())));
  }
  if (objects == 0) return false;
  std::stable_sort(all.begin(), all.end(),
                   [](const Found& a, const Found& b) { return a.score > b.score; });
  std::vector<double> recall(all.size()), precision(all.size());
  for (std::size_t t = 0; t < kOverlaps; ++t) {
    double right = 0, wrong = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool matched = all[i].matched >> t & 1, ignored = all[i].ignored >> t & 1;
      right += matched && !ignored;
      wrong += !matched && !ignored;
      recall[i] = right / static_cast<double>(objects);
      precision[i] = right / (wrong + right + std::numeric_limits<double>::epsilon());
    }
    out.recall[t] = all.empty() ? 0 : recall.back();
    for (std::size_t i = all.size(); i-- > 1;)
      precision[i - 1] = std::max(precision[i - 1], precision[i]);
    for (std::size_t r = 0; r < out.precision[t].size(); ++r) {
      const auto at = std::ranges::lower_bound(recall, recall_point(r)) - recall.begin();
      const auto place = static_cast<std::size_t>(at);
      out.precision[t][r] = place < all.size() ? precision[place] : 0;
    }
  }
  return true;
}

BoxMetrics BoxEvaluation::metrics() const {
  // Sums over the curves of all categories: by size at 100 detections, and recalls at 1 and 10.
  std::array<Mean, kSizes> ap, ar;
  Mean ap50, ap75, ar1, ar10;
  BoxMetrics out;
  Point point;
  for (const auto& [category, sizes] : categories_) {
    Mean own;
    for (std::size_t s = 0; s < kSizes; ++s) {
      if (!summed(sizes[s], kMostDetections, point)) continue;
      for (std::size_t t = 0; t < kOverlaps; ++t) {
        ar[s].add(point.recall[t]);
        for (const double p : point.precision[t]) {
          ap[s].add(p);
          if (s > 0) continue;
          own.add(p);
          if (t == 0) ap50.add(p);
          if (t == 5) ap75.add(p);
        }
      }
    }
    out.category_ap[category] = own.value();
    for (auto* few : {&ar1, &ar10}) {
      if (!summed(sizes[0], few == &ar1 ? 1 : 10, point)) continue;
      for (const double r : point.recall) few->add(r);
    }
  }
  out.ap = ap[0].value();
  out.ap50 = ap50.value();
  out.ap75 = ap75.value();
  out.ap_small = ap[1].value();
  out.ap_medium = ap[2].value();
  out.ap_large = ap[3].value();
  out.ar1 = ar1.value();
  out.ar10 = ar10.value();
  out.ar100 = ar[0].value();
  out.ar_small = ar[1].value();
  out.ar_medium = ar[2].value();
  out.ar_large = ar[3].value();
  return out;
}

}  // namespace tessera::nn
