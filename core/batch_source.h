// Where training and evaluation take their batches from: what core, nn and quant know of a data
// set.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
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
  // Where in the stored order the samples of fill() are: index s32 [n], in [0, samples()). Throws
  // Error where a source does not tell.
  virtual void positions(std::int64_t /*epoch*/, std::int64_t /*first*/, Tensor& /*index*/) const {
    fail(name(), " does not tell the positions of its samples");
  }
};

}  // namespace tessera
