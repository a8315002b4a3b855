// Codebook decoding for AVX-512 without VBMI: 16 elements at a time, the table in 1 to 16
// registers.
#include <immintrin.h>

#include "ops/codebook/decode_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/decode_tail-inl.h"
// (uses the one above)
#include "ops/codebook/decode_avx512-inl.h"

void decode(const DecodeSpan& s) {
  decode_rest(s, decode_common(s));
}

}  // namespace

extern "C" const DecodeKernels tessera_decode_avx512 = {"avx512", decode, multiply_span,
                                                        segment_sums_span};

}  // namespace tessera
