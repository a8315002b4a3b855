// Integer products with codebook weights in plain C++.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/codebook/int8_kernels.h"

namespace tessera {
namespace {

// Entry (lane, column) of a step.
int entry(const uint8_t* step, const int8_t* table, int form, int lane, int column) {
  const int quad = column / 4, byte = lane * 4 + column % 4;
  if (form == 8) return static_cast<int8_t>(step[64 * quad + byte]);
  int index = 0, shift = 0;
  for (int size = 4; size; size /= 2) {
    if (!(form & size)) continue;
    const int each = 8 / size;  // quads in a vector
    index |= (step[64 * (quad / each) + byte] >> quad % each * size & ((1 << size) - 1)) << shift;
    shift += size;
    step += 64 * size;
  }
  return table[index];
}

void tile(const Int8Tile& t) {
  for (int m = 0; m < t.rows; ++m)
    for (int v = 0; v < t.vectors; ++v)
      for (int n = 0; n < (v + 1 < t.vectors ? 16 : t.tail); ++n) {
        float& y = t.y[m * t.ldy + 16 * v + n];
        for (int64_t begin = 0, block = 0; begin == 0 || begin < t.steps;
             begin += t.block_steps, ++block) {
          int32_t sum = 0, sums;
          for (int64_t s = begin; s < std::min(t.steps, begin + t.block_steps); ++s)
            for (int c = 0; c < kInt8Step; ++c)
              sum += t.x[m * t.x_rs + s * kInt8Step + c] *
                     entry(t.w.panels + v * t.w.panel_stride + s * 64 * t.form, t.w.table, t.form,
                           n, c);
          const char* meta = t.w.meta + v * t.w.meta_stride + block * kInt8MetaBytes;
          float scale;
          std::memcpy(&sums, meta + 4 * n, 4);
          std::memcpy(&scale, meta + 64 + 4 * n, 4);
          const auto value = static_cast<float>(sum - t.x_zero[m] * sums);
          const float factor = scale * t.x_scale[m];
          y = block > 0 ? std::fma(value, factor, y) : value * factor;
        }
      }
}

void expand(const Int8Expand& e) {
  for (int64_t s = 0; s < e.steps; ++s)
    for (int c = 0; c < kInt8Step; ++c)
      for (int n = 0; n < 16; ++n)
        e.dst[s * 512 + c / 4 * 64 + n * 4 + c % 4] =
            static_cast<int8_t>(entry(e.panel + s * 64 * e.form, e.table, e.form, n, c));
}

void quantize(const Int8Quantize& q) {
  float low = 0, high = 0;
  bool finite = true;
  for (int64_t k = 0; k < q.k; ++k) {
    finite = finite && std::isfinite(q.x[k]);
    low = std::min(low, q.x[k]);
    high = std::max(high, q.x[k]);
  }
  const int64_t padded = (q.k + kInt8Step - 1) / kInt8Step * kInt8Step;
  std::memset(q.q, 0, static_cast<size_t>(padded));
  *q.zero = 0;
  *q.scale = finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  if (!finite || !(high - low >= kInt8LeastRange)) return;
  *q.scale = high / 255.0f - low / 255.0f;
  const float inverse = 1.0f / *q.scale;
  *q.zero = std::min(255, static_cast<int32_t>(std::rint(-low * inverse)));
  for (int64_t k = 0; k < q.k; ++k) {
    const int32_t whole = static_cast<int32_t>(std::rint(q.x[k] * inverse)) + *q.zero;
    q.q[k] = static_cast<uint8_t>(std::clamp(whole, 0, 255));
  }
}

}  // namespace

#define TESSERA_ROWS                                  \
  {                                                   \
    {tile}, {tile}, {tile}, {tile}, {tile}, {tile}, { \
      tile                                            \
    }                                                 \
  }
extern "C" const Int8Kernels tessera_int8_ref = {
    "ref",
    {1, 1, 1, 1, 1, 1, 1},
    {TESSERA_ROWS, TESSERA_ROWS, TESSERA_ROWS, TESSERA_ROWS, TESSERA_ROWS, TESSERA_ROWS,
     TESSERA_ROWS},
    {expand, expand, expand, expand, expand, expand},
    quantize,
    nullptr,
    {}};
#undef TESSERA_ROWS

}  // namespace tessera
