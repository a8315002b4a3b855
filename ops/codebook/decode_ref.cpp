// Codebook decoding in plain C++: the row that needs no features.
#include "ops/codebook/decode_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/decode_tail-inl.h"

void decode(const DecodeSpan& s) {
  decode_rest(s, 0);
}

void multiply(float* values, int64_t count, float factor) {
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
}

void segment_sums(const SegmentSpan& s) {
  segment_sums_any(s);
}

}  // namespace

extern "C" const DecodeKernels tessera_decode_ref = {"ref", decode, multiply, segment_sums};

}  // namespace tessera
