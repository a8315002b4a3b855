// Integer products for AVX2 machines with AVX-VNNI.
#include <immintrin.h>

#include "ops/codebook/int8_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/int8_dot_avxvnni-inl.h"

#include "ops/codebook/int8_avx2-inl.h"
#include "ops/codebook/int8_body-inl.h"

}  // namespace

extern "C" const Int8Kernels tessera_int8_avxvnni = TESSERA_INT8_KERNELS("avxvnni", nullptr, {});

}  // namespace tessera
