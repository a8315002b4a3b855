// The packed codebook kernels in plain C++.
#include "ops/codebook/packed_kernels.h"

namespace tessera {
namespace {

inline uint32_t dword(const uint8_t* p) {
  return p[0] | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
         static_cast<uint32_t>(p[3]) << 24;
}

inline float value(const PackedPanels& w, int v, int lane, int64_t k, int bits) {
  const uint8_t* panel = w.panels + v * w.panel_stride;
  uint32_t index = 0;
  int shift = 0;
  for (int plane = 0; plane < 3; ++plane) {
    const int width = 4 >> plane;
    if (!(bits & width)) continue;
    const int64_t per_dword = 32 / width;
    const uint8_t* at = panel + w.plane_offset[plane] + k / per_dword * 64 + lane * 4;
    index |= (dword(at) >> (k % per_dword * width) & ((1u << width) - 1)) << shift;
    shift += width;
  }
  return w.table[index];
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
      f.dst[k * f.ks + n] = f.w.scale ? entry * f.w.scale[n] : entry;
    }
}

}  // namespace

#define TESSERA_ROWS                                        \
  {tile}, {tile}, {tile}, {tile}, {tile}, {tile}, {tile}, { \
    tile                                                    \
  }
extern "C" const PackedKernels tessera_packed_ref = {"ref",
                                                     {{TESSERA_ROWS},
                                                      {TESSERA_ROWS},
                                                      {TESSERA_ROWS},
                                                      {TESSERA_ROWS},
                                                      {TESSERA_ROWS},
                                                      {TESSERA_ROWS}},
                                                     {fill, fill, fill, fill, fill, fill}};
#undef TESSERA_ROWS

}  // namespace tessera
