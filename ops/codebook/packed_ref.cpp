// The packed codebook kernels in plain C++.
#include "ops/codebook/packed_kernels.h"

namespace tessera {
namespace {

// Byte `i` of the bit string of one row's step.
inline uint32_t byte_of(const uint8_t* step, int lane, int bits, int i) {
  for (int size = 4; size; size /= 2) {
    if (!(bits & size)) continue;
    if (i < size) return step[lane * size + i];
    i -= size;
    step += 16 * size;
  }
  return 0;
}

inline uint32_t index(const PackedPanels& w, int v, int lane, int64_t k, int bits) {
  const uint8_t* step = w.panels + v * w.panel_stride + k / 8 * 16 * bits;
  const int bit = static_cast<int>(k % 8) * bits;
  const uint32_t two = byte_of(step, lane, bits, bit / 8) | byte_of(step, lane, bits, bit / 8 + 1)
                                                                << 8;
  return two >> bit % 8 & ((1u << bits) - 1);
}

inline float value(const PackedPanels& w, int v, int lane, int64_t k, int bits) {
  return w.table[index(w, v, lane, k, bits)];
}

void tile(const PackedTile& t) {
  for (int m = 0; m < t.rows; ++m)
    for (int v = 0; v < t.vectors; ++v)
      for (int n = 0; n < (v + 1 < t.vectors ? 16 : t.tail); ++n) {
        float sum = 0.0f;
        for (int64_t k = 0; k < t.k; ++k)
          sum += t.x[m * t.x_rs + k] * value(t.w, v, n, t.k0 + k, t.bits);
        if (t.w.scale) sum *= t.w.scale[v * t.w.scale_stride + n];
        float& y = t.y[m * t.ldy + 16 * v + n];
        y = t.accumulate ? y + sum : sum;
      }
}

void fill(const PackedFill& f) {
  for (int64_t k = 0; k < f.k; ++k)
    for (int n = 0; n < 16; ++n) {
      const float entry = value(f.w, 0, n, f.k0 + k, f.bits);
      f.dst[(f.order ? f.order[k] : k) * f.ks + n] = f.w.scale ? entry * f.w.scale[n] : entry;
    }
}

void vector_fill(const PackedFill& f) {
  const int64_t entries = f.bits > 4 ? int64_t{1} << f.bits : 16;
  for (int64_t k = 0; k < f.k; ++k)
    for (int n = 0; n < 16; ++n) {
      const int64_t at = f.k0 + k;
      f.dst[(f.order ? f.order[k] : k) * f.ks + n] =
          f.w.table[at % f.d * entries + index(f.w, 0, n, at / f.d, f.bits)];
    }
}

void vector_tile(const PackedVectorTile& t) {
  const int64_t entries = t.bits > 4 ? int64_t{1} << t.bits : 16;
  for (int v = 0; v < t.vectors; ++v)
    for (int n = 0; n < (v + 1 < t.vectors ? 16 : t.tail); ++n) {
      float sum = 0.0f;
      for (int64_t k = 0; k < t.k; ++k) {
        const float* entry = t.w.table + index(t.w, v, n, k, t.bits);
        for (int e = 0; e < t.d; ++e) sum += t.x[k * t.d + e] * entry[e * entries];
      }
      t.y[16 * v + n] = sum;
    }
}

}  // namespace

#define TESSERA_ROWS                                        \
  {tile}, {tile}, {tile}, {tile}, {tile}, {tile}, {tile}, { \
    tile                                                    \
  }
extern "C" const PackedKernels tessera_packed_ref = {
    "ref",
    {{TESSERA_ROWS},
     {TESSERA_ROWS},
     {TESSERA_ROWS},
     {TESSERA_ROWS},
     {TESSERA_ROWS},
     {TESSERA_ROWS}},
    {fill, fill, fill, fill, fill, fill},
    {vector_fill, vector_fill, vector_fill, vector_fill, vector_fill},
    {{vector_tile}, {vector_tile}, {vector_tile}, {vector_tile}, {vector_tile}}};
#undef TESSERA_ROWS

}  // namespace tessera
