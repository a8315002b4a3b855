// Sets whose samples can be asked for one by one.
#pragma once

#include <span>

#include "core/batch_source.h"

namespace tessera::datasets {

class IndexedSource : public BatchSource {
 public:
  // Samples by their places in the stored order, as an epoch shows them: with its augmentation, or
  // without (-1). x f32 [n, sample...] and y s32 [n] for n rows in [0, samples()), in the order of
  // the rows. Throws Error when they do not fit.
  virtual void gather(std::int64_t epoch, std::span<const std::int32_t> rows, Tensor& x,
                      Tensor& y) const = 0;
};

}  // namespace tessera::datasets
