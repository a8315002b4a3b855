// f32 GEMM tile and packing in plain C++: the row that needs no features, and what others are
// compared with.
#include "ops/matmul/gemm_kernels.h"

namespace tessera {
namespace {

template <int kRows>
void tile(const GemmTile& t) {
  float acc[kRows][kGemmLanes] = {};
  const int cols = t.tail;
  const float* b = t.b;
  for (int64_t k = 0; k < t.k; ++k, b += t.b_ks) {
    float bv[kGemmLanes] = {};
    for (int j = 0; j < cols; ++j) bv[j] = b[j];
    for (int r = 0; r < kRows; ++r) {
      const float a = t.a[r * t.a_rs + k * t.a_cs];
      for (int j = 0; j < kGemmLanes; ++j) acc[r][j] += a * bv[j];
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int j = 0; j < cols; ++j) {
      float& c = t.c[r * t.ldc + j];
      c = t.accumulate ? c + acc[r][j] : acc[r][j];
    }
}

void pack_transpose(const PackTranspose& p) {
  const int64_t padded = (p.rows + kGemmLanes - 1) / kGemmLanes * kGemmLanes;
  for (int64_t n = 0; n < padded; ++n) {
    float* dst = p.dst + n / kGemmLanes * p.vs + n % kGemmLanes;
    for (int64_t k = 0; k < p.k; ++k) dst[k * p.ks] = n < p.rows ? p.src[n * p.ld + k] : 0.0f;
  }
}

}  // namespace

extern "C" const GemmKernels tessera_gemm_ref = {
    "ref", {{tile<1>}, {tile<2>}, {tile<3>}, {tile<4>}}, 4, pack_transpose};

}  // namespace tessera
