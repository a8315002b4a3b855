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
  found = suppress_overlapping(std::move(found), options.most_overlap);
  if (std::ssize(found) > options.most) found.resize(static_cast<std::size_t>(options.most));
  for (DetectedBox& d : found) d.box = frame.clipped(d.box);
  return found;
}

}  // namespace tessera::nn
