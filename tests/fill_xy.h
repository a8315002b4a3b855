// Samples of sources that have an "x" and a "y", into tensors that a test has.
#pragma once

#include "core/batch_source.h"

namespace tessera::testing {

inline void fill_xy(const BatchSource& source, std::int64_t epoch, std::int64_t first, Tensor& x,
                    Tensor& y) {
  TensorMap batch = {{"x", x}, {"y", y}};
  source.fill(epoch, first, batch);
}

// Where the samples are in the stored order.
inline void fill_index(const BatchSource& source, std::int64_t epoch, std::int64_t first,
                       Tensor& index) {
  TensorMap batch = {{kIndexField, index}};
  source.fill(epoch, first, batch);
}

inline Shape sample_of(const BatchSource& source) {
  return source.field("x").sample;
}
inline std::int64_t classes_of(const BatchSource& source) {
  return source.field("y").below;
}

}  // namespace tessera::testing
