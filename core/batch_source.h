// Where training and evaluation take their batches from: what core, nn and quant know of a data
// set.
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace tessera {

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual std::string name() const = 0;
  virtual std::int64_t samples() const = 0;
  virtual std::int64_t classes() const = 0;
  // Shape of one sample as the network sees it, without the batch axis.
  virtual Shape sample_shape() const = 0;
  // Fills x f32 [n, sample...] and y s32 [n] with samples [first, first + n) of an epoch's order.
  // The order is a pure function of the source's seed and the epoch; epoch -1 is the stored order.
  virtual void fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const = 0;
};

}  // namespace tessera
