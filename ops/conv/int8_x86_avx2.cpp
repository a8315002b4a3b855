// Convolutions in integers for AVX2: the 32-bit sums of a tile are needed once in eight quads and
// may leave the registers.
#include <immintrin.h>

#include <utility>

#include "ops/codebook/int8_kernels.h"
#include "ops/conv/int8_conv_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/int8_dot_avx2-inl.h"

#include "ops/codebook/int8_avx2-inl.h"

constexpr int kRegisters = 16, kSumRegs = 2, kXRegs = 2;

#include "ops/conv/int8_conv_body-inl.h"

}  // namespace

extern "C" const Int8ConvKernels tessera_int8_conv_avx2 = TESSERA_INT8_CONV_KERNELS("avx2");

}  // namespace tessera
