// Lines of pixels, compiled once for each instruction set: fixed widths become a few vectors.
#pragma once

#include "ops/conv/line_kernels.h"

namespace {

using tessera::LineKernels;

template <int64_t kWidth>
void gather_fixed(const float* from, int64_t from_ld, int64_t lines, float* to) {
  for (int64_t i = 0; i < lines; ++i, from += from_ld, to += kWidth)
    __builtin_memcpy(to, from, kWidth * sizeof(float));
}

void gather(const float* from, int64_t from_ld, int64_t lines, int64_t width, float* to) {
  switch (width) {
    case 4:
      return gather_fixed<4>(from, from_ld, lines, to);
    case 8:
      return gather_fixed<8>(from, from_ld, lines, to);
    case 16:
      return gather_fixed<16>(from, from_ld, lines, to);
    case 24:
      return gather_fixed<24>(from, from_ld, lines, to);
    case 32:
      return gather_fixed<32>(from, from_ld, lines, to);
    default:
      break;
  }
  for (int64_t i = 0; i < lines; ++i, from += from_ld, to += width) {
    int64_t j = 0;
    for (; j + 8 <= width; j += 8) __builtin_memcpy(to + j, from + j, 8 * sizeof(float));
    for (; j < width; ++j) to[j] = from[j];
  }
}

template <int64_t kWidth>
void add_fixed(const float* from, int64_t lines, float* to, int64_t to_ld) {
  for (int64_t i = 0; i < lines; ++i, from += kWidth, to += to_ld) {
    float sum[kWidth];
    for (int64_t j = 0; j < kWidth; ++j) sum[j] = to[j] + from[j];
    __builtin_memcpy(to, sum, sizeof sum);
  }
}

void scatter_add(const float* from, int64_t lines, int64_t width, float* to, int64_t to_ld) {
  switch (width) {
    case 4:
      return add_fixed<4>(from, lines, to, to_ld);
    case 8:
      return add_fixed<8>(from, lines, to, to_ld);
    case 16:
      return add_fixed<16>(from, lines, to, to_ld);
    case 24:
      return add_fixed<24>(from, lines, to, to_ld);
    default:
      break;
  }
  for (int64_t i = 0; i < lines; ++i, from += width, to += to_ld) {
    for (int64_t j = 0; j < width; ++j) to[j] += from[j];
  }
}

constexpr LineKernels line_kernels(const char* name) {
  return {name, gather, scatter_add};
}

}  // namespace
