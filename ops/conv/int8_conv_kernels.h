// Kernels of convolutions in integers: plain structs between int8_conv.cpp and the files compiled
// with wide instruction sets.
#pragma once

#include <stdint.h>

namespace tessera {

inline constexpr int kInt8ConvRows = 14, kInt8ConvVectors = 8;
inline constexpr int kInt8DepthwiseRows = 8, kInt8DepthwiseTaps = 7, kInt8DepthwiseSteps = 2;

// What follows a sum while it is in registers, of channel `lane` of panel v:
//   min(max(y * mul[v * mul_vs + lane] + add[v * add_vs + lane], low), high), NaN where y is,
// the product not rounded; nothing where mul is null. `seen` takes the bits of the results: the
// largest of each lane as signed integers, then, 16 further on, as unsigned ones. May be null.
struct Int8Finish {
  const float *mul, *add;
  int64_t mul_vs, add_vs;
  float low, high;
  uint32_t* seen;
};

// A register tile: for r < rows, v < vectors and lane < 16
//   y[r * y_rs + v * y_vs + lane] =
//     (scale[v][lane] * x_scale[r * x_step]) * (sum - x_zero[r * x_step] * sums[v][lane]),
// the second factor an integer, exactly: sum over pieces p, quads q of a piece and b < 4 of
//   x[x_at[p] + r * x_rs + 4 q + b] * w[v * w_vs + 64 (p * quads + q) + 4 lane + b].
struct Int8ConvTile {
  const uint8_t* x;
  const int64_t* x_at;
  int64_t x_rs;
  int64_t pieces, quads;
  const uint8_t* w;  // signed
  int64_t w_vs;
  // Of panel v at meta + v * meta_vs: 16 sums, int32, and 16 scales, f32.
  const char* meta;
  int64_t meta_vs;
  const float* x_scale;
  const int32_t* x_zero;
  int64_t x_step;
  float* y;
  int64_t y_rs, y_vs;
  int32_t rows, vectors;
  Int8Finish finish;
};

// The range of floats and 0, and whether all are finite.
struct Int8Range {
  float low = 0, high = 0;
  int32_t finite = 1;
};

// q[i * q_ps + c] = x[...] * inverse + zero, rounded to nearest even, in [0, 255], for pixels i and
// channels c of a line. All 0 where `inverse` and `zero` are.
struct Int8ConvLine {
  const float* x;
  int64_t x_cs;  // from one channel to the next in planes, or from one block of them
  int64_t pixels;
  int32_t channels;
  uint8_t* q;
  int64_t q_ps;
  float inverse;
  int32_t zero;
};

// A row of pixels of sixteen channels, each with taps of its own: for i < outputs and lane < 16
//   y[16 i + lane] = (scale[lane] * x_scale) * (sum - x_zero * sums[lane]), sum over q < quads,
//   k < taps and b < 4 of rows[4 q + b][(first + i * steps + k) * step + lane] *
//     w[64 (q * taps + k) + 4 lane + b].
// Of a row that is null and of columns outside [0, width) x is the border.
struct Int8DepthwiseLine {
  const uint8_t* rows[kInt8DepthwiseRows];
  const uint8_t* border;  // 16 bytes
  int64_t step;           // from one pixel to the next
  int64_t quads;
  int64_t first, width, outputs;
  const uint8_t* w;  // signed
  const char* meta;  // 16 sums, int32, and 16 scales, f32
  float x_scale;
  int32_t x_zero;
  float* y;
  Int8Finish finish;  // of panel 0
};

struct Int8ConvKernels {
  const char* name;
  // tile[rows - 1][vectors - 1]; null where it would not fit the registers.
  void (*tile[kInt8ConvRows][kInt8ConvVectors])(const Int8ConvTile&);
  void (*range)(const float* x, int64_t n, Int8Range* joined);
  // Pixels of blocks of 16 floats; `channels` a multiple of 4.
  void (*blocked)(const Int8ConvLine&);
  // Channels in planes, 4 at most; four bytes a pixel, the zero point where there is no channel.
  void (*planar)(const Int8ConvLine&);
  // [taps - 1][steps - 1]
  void (*depthwise[kInt8DepthwiseTaps][kInt8DepthwiseSteps])(const Int8DepthwiseLine&);
};

extern "C" const Int8ConvKernels tessera_int8_conv_ref;
#if defined(__x86_64__)
extern "C" const Int8ConvKernels tessera_int8_conv_avx2, tessera_int8_conv_avxvnni,
    tessera_int8_conv_avx512vnni;
#endif

}  // namespace tessera
