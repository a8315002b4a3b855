// Average precision and recall of detected boxes, as COCO defines them: to the digit what its own
// evaluator gives (cocodataset/cocoapi, pycocotools/cocoeval.py, boxes, default parameters).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/boxes.h"
#include "nn/task.h"

namespace tessera::nn {

// All in [0, 1], means over the categories that occur and, unless named, over the overlaps 0.50,
// 0.55, ... 0.95 that a match needs; -1 where there is nothing of that kind. A size is that of the
// object's area: small below 32^2, large above 96^2, bounds belonging to both.
struct BoxMetrics {
  double ap = -1, ap50 = -1, ap75 = -1, ap_small = -1, ap_medium = -1, ap_large = -1;
  // Recall with at most 1, 10 or 100 detections of an image and category.
  double ar1 = -1, ar10 = -1, ar100 = -1, ar_small = -1, ar_medium = -1, ar_large = -1;
  std::map<std::int64_t, double> category_ap = {};

  // "AP", "AP50", ... "AR100", "ARlarge" in percent; the first is the main one.
  std::vector<Metric> metrics() const;
};

class BoxEvaluation {
 public:
  // Detections of other categories than these are left out.
  explicit BoxEvaluation(std::span<const std::int64_t> categories);
  // All boxes of an image. Throws Error for an image that was added before, a box of the truth of
  // another category, and numbers that are not finite.
  void add(std::int64_t image, std::span<const TrueBox> truth,
           std::span<const DetectedBox> detections);
  BoxMetrics metrics() const;

 private:
  static constexpr int kOverlaps = 10, kSizes = 4;
  // Of an image and category at one size: what became of each detection, best first. Bit t belongs
  // to overlap t.
  struct Found {
    double score;
    std::uint16_t matched, ignored;
  };
  struct Image {
    std::vector<Found> found;
    std::int64_t objects = 0;  // that count
  };
  using Curve = std::array<double, 101>;  // precision at recalls 0, 0.01, ... 1
  struct Point {
    std::array<Curve, kOverlaps> precision;
    std::array<double, kOverlaps> recall;
  };

  static Image matched(std::span<const TrueBox> truth, std::span<const DetectedBox> detections,
                       double least_area, double most_area);
  static bool summed(const std::map<std::int64_t, Image>& images, std::size_t most, Point& out);

  // By category, size and image: the order of images decides between equal scores.
  std::map<std::int64_t, std::array<std::map<std::int64_t, Image>, kSizes>> categories_;
  std::map<std::int64_t, bool> images_;
};

}  // namespace tessera::nn
