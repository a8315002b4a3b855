// What the codebook drivers and their kernel files agree on: plain structs only.
#pragma once

#include <cstdint>

namespace tessera {

// The entries of one group as kernels want them. `values` has table_floats() floats: element e of
// entry i at i * vector_len + e, repeated up to 16 floats. `planes` are the four bytes of those
// floats apart: byte b of float i at planes[b * stride + i], stride = max(64, floats).
struct DecodeTable {
  const float* values;
  const uint8_t* planes;
};

// Decodes `count` indices from number `first` on: count * vector_len floats, not scaled.
// `bytes` is the length of the whole index array; nothing beyond it is read.
struct DecodeSpan {
  const uint8_t* indices;
  int64_t bytes;
  int64_t first, count;
  int32_t bits, vector_len;
  DecodeTable table;
  float* out;
};

// Adds to sums[i] every value whose index is i, in a fixed order; value[j] belongs to index number
// first + j, and all indices are below k.
struct SegmentSpan {
  const uint8_t* indices;
  int64_t bytes;  // of the whole index array; nothing beyond it is read
  int64_t first, count;
  int32_t bits, k;
  const float* value;
  float* sums;
};

struct DecodeKernels {
  const char* name;
  void (*decode)(const DecodeSpan&);
  void (*multiply)(float* values, int64_t count, float factor);
  void (*segment_sums)(const SegmentSpan&);
};

extern "C" const DecodeKernels tessera_decode_ref;
#if defined(__x86_64__)
extern "C" const DecodeKernels tessera_decode_avx2;
extern "C" const DecodeKernels tessera_decode_avx512;
extern "C" const DecodeKernels tessera_decode_avx512vbmi;
#endif

}  // namespace tessera
