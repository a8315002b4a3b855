// A labelled set of images held in memory.
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace tessera::datasets {

struct Dataset {
  std::string name;  // "mnist/train"; used in messages
  Tensor images;     // u8 [n, h, w] or [n, c, h, w]
  Tensor labels;     // s32 [n], each in [0, classes)
  std::int64_t classes = 0;

  std::int64_t size() const { return labels.numel(); }
  // Values per image: c * h * w.
  std::int64_t pixels() const { return size() == 0 ? 0 : images.numel() / size(); }
};

struct Split {
  Dataset train, test;
};

}  // namespace tessera::datasets
