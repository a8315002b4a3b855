// The built-in stand-in for COCO: shapes on cluttered pictures, annotated as COCO annotates.
#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "datasets/coco.h"

namespace tessera::datasets {

struct SyntheticDetection {
  std::int64_t train = 5000, validation = 500, test = 1000;  // pictures
  std::uint64_t seed = 1;
};

// Pictures in memory, and what is in them.
struct AnnotatedPictures {
  CocoSet set;
  Tensor pixels;  // u8 [pictures, 128, 128, 3]
};
struct DetectionSplit {
  AnnotatedPictures train, validation, test;
};

// Pictures of 128 x 128 pixels with 1 to 8 objects of 8 categories (ids 1 to 8), each a shape in
// any of ten textures, of any colours and at any angle, whose box has a longer side of 8 to 96
// pixels, all sizes alike on a logarithmic scale. Objects overlap; at least half of each can be
// seen. Box and area are those of the pixels seen. Clutter: strokes and dots. Colours say nothing
// of the category, and an object is as likely as its negative, so that templates find little:
// tests/datasets/synthetic_detection_full_test.cpp measures it. Picture i is a function of (seed,
// part, i) alone: a larger set begins with the smaller one. Throws Error for sizes below 1 or above
// a million.
DetectionSplit synthetic_detection(const SyntheticDetection& options = {});

}  // namespace tessera::datasets
