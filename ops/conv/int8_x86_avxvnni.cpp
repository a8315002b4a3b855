// Convolutions in integers for AVX2 machines with AVX-VNNI.
#include <immintrin.h>

#include <utility>

#include "ops/codebook/int8_kernels.h"
#include "ops/conv/int8_conv_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/int8_dot_avxvnni-inl.h"

#include "ops/codebook/int8_avx2-inl.h"

constexpr int kRegisters = 16, kSumRegs = 1, kXRegs = 1;

#include "ops/conv/int8_conv_body-inl.h"

}  // namespace

extern "C" const Int8ConvKernels tessera_int8_conv_avxvnni = TESSERA_INT8_CONV_KERNELS("avxvnni");

}  // namespace tessera
