// Integer products for AVX2.
#include <immintrin.h>

#include "ops/codebook/int8_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/int8_dot_avx2-inl.h"

#include "ops/codebook/int8_avx2-inl.h"
#include "ops/codebook/int8_body-inl.h"

}  // namespace

extern "C" const Int8Kernels tessera_int8_avx2 = TESSERA_INT8_KERNELS("avx2", nullptr, {});

}  // namespace tessera
