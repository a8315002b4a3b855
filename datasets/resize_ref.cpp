// Resizing in plain loops.
#include "datasets/resize_kernels.h"

namespace tessera::datasets {
namespace {

void columns(const std::uint8_t* row, const std::int32_t* first, const std::int16_t* weights,
             int taps, int shift, std::int64_t count, std::uint8_t* out) {
  for (std::int64_t i = 0; i < count; ++i, weights += taps) {
    const std::uint8_t* pixel = row + std::int64_t{3} * first[i];
    int sum[3] = {1 << (shift - 1), 1 << (shift - 1), 1 << (shift - 1)};
    for (int t = 0; t < taps; ++t) {
      for (int c = 0; c < 3; ++c) sum[c] += weights[t] * pixel[3 * t + c];
    }
    for (int c = 0; c < 3; ++c) out[3 * i + c] = static_cast<std::uint8_t>(sum[c] >> shift);
  }
}

void rows(const std::uint8_t* rows, std::int64_t stride, const std::int16_t* weights, int taps,
          int shift, std::int64_t bytes, std::uint8_t* out) {
  for (std::int64_t j = 0; j < bytes; ++j) {
    int sum = 1 << (shift - 1);
    for (int t = 0; t < taps; ++t) sum += weights[t] * rows[t * stride + j];
    out[j] = static_cast<std::uint8_t>(sum >> shift);
  }
}

}  // namespace

extern "C" const ResizeKernels tessera_resize_ref = {"resize_ref", columns, rows};

}  // namespace tessera::datasets
