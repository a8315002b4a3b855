// Convolutions in integers for AVX-512 VNNI.
#include <immintrin.h>

#include <utility>

#include "ops/codebook/int8_kernels.h"
#include "ops/conv/int8_conv_kernels.h"

namespace tessera {
namespace {

// Nothing is looked up here.
template <int kForm>
struct Look {};

#include "ops/codebook/int8_avx512-inl.h"

constexpr int kRegisters = 32, kSumRegs = 1, kXRegs = 1;

#include "ops/conv/int8_conv_body-inl.h"

}  // namespace

extern "C" const Int8ConvKernels tessera_int8_conv_avx512vnni =
    TESSERA_INT8_CONV_KERNELS("avx512vnni");

}  // namespace tessera
