// What resizing and its kernel files agree on: plain structs only. Weights are integers that sum to
// 1 << shift, so every kernel gives the same bits.
#pragma once

#include <cstdint>

namespace tessera::datasets {

// Bytes that `columns` may read beyond the last pixel it needs.
inline constexpr int kResizeSlack = 16;

struct ResizeKernels {
  const char* name;
  // Pixel i of `out`, of three bytes: the weighted pixels first[i] to first[i] + taps of `row`, the
  // weights at weights + i * taps. taps is a multiple of 4.
  void (*columns)(const std::uint8_t* row, const std::int32_t* first, const std::int16_t* weights,
                  int taps, int shift, std::int64_t count, std::uint8_t* out);
  // Byte j of `out`: the weighted bytes j of the rows that start at rows + t * stride, t < taps.
  void (*rows)(const std::uint8_t* rows, std::int64_t stride, const std::int16_t* weights, int taps,
               int shift, std::int64_t bytes, std::uint8_t* out);
};

extern "C" const ResizeKernels tessera_resize_ref;
#if defined(__x86_64__)
extern "C" const ResizeKernels tessera_resize_avx2;
#endif

}  // namespace tessera::datasets
