// From what a detector gives for every place of a picture to the boxes that it says are there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/boxes.h"

namespace tessera::nn {

struct DetectionOptions {
  double least_score = 0.05;        // of a box that is looked at
  std::int64_t most_looked = 3000;  // of them, the best
  double most_overlap = 0.5;        // with a better one of its category
  std::int64_t most = 100;          // of a picture, the best
  // A box that is kept becomes a mean of its category's boxes that overlap it by this much; 1:
  // none.
  double averaged = 1;
};

// Those of `boxes` that overlap no better one of their category by more than `most_overlap`, best
// first; of equal scores the earlier one is better. Greedy non-maximum suppression.
std::vector<DetectedBox> suppress_overlapping(std::vector<DetectedBox> boxes, double most_overlap);

// Each of `kept` as the mean of those of `boxes` of its category that overlap it by
// `least_overlap`, weighed by their scores and by exp(-(1 - IoU)^2 / 0.05): box voting (Gidaris &
// Komodakis, ICCV 2015) with the weights of He et al., CVPR 2019. Scores stay.
void average_overlapping(std::vector<DetectedBox>& kept, const std::vector<DetectedBox>& boxes,
                         double least_overlap);

// The detections in a picture, best first, from `boxes` [places, 4], centre, width and height as
// shares of the frame, and `scores` [places, categories]. What reaches over the picture's border is
// cut off, at last. Throws Error when sizes do not fit.
std::vector<DetectedBox> detections_of(std::span<const float> boxes, std::span<const float> scores,
                                       std::span<const std::int64_t> categories, const Frame& frame,
                                       const DetectionOptions& options = {});

}  // namespace tessera::nn
