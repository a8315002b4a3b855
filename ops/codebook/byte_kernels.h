// How kernels read indices of a byte each in panels of sixteen rows: plain structs only.
//
// A step holds four indices of each of the sixteen rows: that of row r and index i at byte
// r / 4 * 16 + i * 4 + r % 4, which is where the interleaving of looked-up bytes wants it. The
// table of a group holds, for each of the d weights of an entry, the four bytes of the floats
// apart: byte b of weight e of entry n at (e * 4 + b) * stride + n, stride = max(64, 2^bits).
#pragma once

#include <cstdint>

namespace tessera {

// dst[order[i] * ks + lane] = scale[lane] * W[lane, k0 + i] for i < k, of one panel; without a
// scale 1, without an order i itself.
struct ByteFill {
  const uint8_t* steps;  // of the panel
  const uint8_t* table;
  const float* scale;
  int64_t k0, k;
  float* dst;
  int64_t ks;
  const int32_t* order;
  int32_t bits, d;
};

inline constexpr int kByteRows = 8;  // rows of x a tile takes

// y[m, lane] (+)= scale[lane] * sum of x[m, k] * W[lane, k0 + k] over k, of one panel and entries
// of one weight. `steps` and x point at column k0, a multiple of 4; lanes from `tail` on are not
// written.
struct ByteTile {
  const uint8_t* steps;
  const uint8_t* table;
  const float* scale;  // null: 1
  int64_t k;
  const float* x;
  int64_t x_rs;
  float* y;
  int64_t ldy;
  int32_t bits, rows, tail, accumulate;
};

#if defined(__x86_64__)
extern "C" void tessera_byte_tile_avx512vbmi(const ByteTile& tile);
extern "C" void tessera_byte_fill_avx512vbmi(const ByteFill& fill);
#endif

}  // namespace tessera
