#include "nn/detection.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"

namespace tessera::nn {

std::vector<DetectedBox> suppress_overlapping(std::vector<DetectedBox> boxes, double most_overlap) {
  std::ranges::stable_sort(boxes, std::greater(), &DetectedBox::score);
  std::map<std::int64_t, std::vector<Box>> kept;
  std::erase_if(boxes, [&](const DetectedBox& box) {
    auto& better = kept[box.category];
    const bool covered = std::ranges::any_of(better, [&](const Box& other) {
      return intersection_over_union(box.box, other) > most_overlap;
    });
    if (!covered) better.push_back(box.box);
    return covered;
  });
  return boxes;
}

void average_overlapping(std::vector<DetectedBox>& kept, const std::vector<DetectedBox>& boxes,
                         double least_overlap) {
  constexpr double kSpread = 0.05;
  for (DetectedBox& one : kept) {
    double all = 0;
    Box mean;
    for (const DetectedBox& other : boxes) {
      if (other.category != one.category) continue;
      const double overlap = intersection_over_union(one.box, other.box);
      if (overlap < least_overlap) continue;
      const double weight = other.score * std::exp(-(1 - overlap) * (1 - overlap) / kSpread);
      all += weight;
      mean.x += weight * other.box.x;
      mean.y += weight * other.box.y;
      mean.width += weight * other.box.width;
      mean.height += weight * other.box.height;
    }
    if (all > 0) one.box = {mean.x / all, mean.y / all, mean.width / all, mean.height / all};
  }
}

std::vector<DetectedBox> detections_of(std::span<const float> boxes, std::span<const float> scores,
                                       std::span<const std::int64_t> categories, const Frame& frame,
                                       const DetectionOptions& options) {
  check(!categories.empty() && boxes.size() % 4 == 0 &&
            scores.size() == boxes.size() / 4 * categories.size(),
        "detections of ", categories.size(), " categories: ", boxes.size(),
        " numbers of boxes and ", scores.size(), " scores do not fit");
  std::vector<DetectedBox> found;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!(scores[i] > options.least_score)) continue;
    const Box box = frame.box(boxes.subspan(4 * (i / categories.size()), 4));
    if (!std::isfinite(box.x) || !std::isfinite(box.y) || !std::isfinite(box.area())) continue;
    found.push_back({box, categories[i % categories.size()], scores[i]});
  }
  if (std::ssize(found) > options.most_looked) {
    std::ranges::stable_sort(found, std::greater(), &DetectedBox::score);
    found.resize(static_cast<std::size_t>(options.most_looked));
  }
  std::vector<DetectedBox> kept = suppress_overlapping(found, options.most_overlap);
  if (std::ssize(kept) > options.most) kept.resize(static_cast<std::size_t>(options.most));
  if (options.averaged < 1) average_overlapping(kept, found, options.averaged);
  for (DetectedBox& d : kept) d.box = frame.clipped(d.box);
  return kept;
}

}  // namespace tessera::nn
