// What the f32 GEMM driver and its kernel files agree on: plain structs, so that files compiled
// with wide instruction sets share no inline code with the rest.
#pragma once

#include <cstdint>

namespace tessera {

// Columns of B are handled in vectors of 16 floats on every instruction set.
inline constexpr int kGemmLanes = 16;
// No kernel takes more rows or more vectors of columns at once.
inline constexpr int kGemmMaxRows = 16;
inline constexpr int kGemmMaxVectors = 8;

// One register tile: c[rows, cols] (+)= sum over k of a(row, k) * b(k, col), accumulated in f32 in
// increasing k. a(r, k) = a[r * a_rs + k * a_cs]. Vector v of row k of B starts at
// b[k * b_ks + v * b_vs]; only the first `tail` (1..16) floats of the last vector are read and
// only that many columns written.
struct GemmTile {
  const float* a;
  int64_t a_rs, a_cs;
  const float* b;
  int64_t b_ks, b_vs;
  float* c;
  int64_t ldc;
  int64_t k;
  int32_t tail;
  int32_t accumulate;  // add to what c holds, else overwrite
  // A vector of B that will be read next, a step's 16 floats at ahead[k * b_ks]: worth asking for
  // where B is larger than the second-level cache. Null: there is none.
  const float* ahead = nullptr;
};

using GemmTileFunction = void (*)(const GemmTile&);

// Transposes src[rows, k] (row stride ld) into dst: element (n, k) goes to
// dst[k * ks + (n / 16) * vs + n % 16]; rows up to the next multiple of 16 are zero.
struct PackTranspose {
  const float* src;
  int64_t ld, rows, k;
  float* dst;
  int64_t ks, vs;
};
using PackTransposeFunction = void (*)(const PackTranspose&);

struct GemmKernels {
  const char* name;
  // tile[rows - 1][vectors - 1]; null where the tile would not fit the registers.
  GemmTileFunction tile[kGemmMaxRows][kGemmMaxVectors];
  int max_rows;  // rows of the tile used for tall problems
  PackTransposeFunction pack_transpose;
};

extern "C" const GemmKernels tessera_gemm_ref;
#if defined(__x86_64__)
extern "C" const GemmKernels tessera_gemm_avx2;
extern "C" const GemmKernels tessera_gemm_avx512;
#endif

}  // namespace tessera
