// Convolutions in integers in plain C++.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/conv/int8_conv_kernels.h"

namespace tessera {
namespace {

float finished(const Int8Finish& f, float y, int panel, int lane) {
  if (f.mul == nullptr) return y;
  y = std::fma(y, f.mul[panel * f.mul_vs + lane], f.add[panel * f.add_vs + lane]);
  y = y < f.low ? f.low : y;
  y = y > f.high ? f.high : y;
  if (f.seen != nullptr) {
    int32_t high;
    uint32_t bits, low = f.seen[16 + lane];
    std::memcpy(&bits, &y, 4);
    std::memcpy(&high, &f.seen[lane], 4);
    high = std::max(high, static_cast<int32_t>(bits));
    low = std::max(low, bits);
    std::memcpy(&f.seen[lane], &high, 4);
    f.seen[16 + lane] = low;
  }
  return y;
}

void tile(const Int8ConvTile& t) {
  for (int r = 0; r < t.rows; ++r)
    for (int v = 0; v < t.vectors; ++v) {
      int32_t sum[16] = {};
      const auto* w = reinterpret_cast<const int8_t*>(t.w + v * t.w_vs);
      for (int64_t p = 0; p < t.pieces; ++p) {
        const uint8_t* x = t.x + t.x_at[p] + r * t.x_rs;
        for (int64_t q = 0; q < t.quads; ++q, x += 4, w += 64)
          for (int lane = 0; lane < 16; ++lane)
            for (int b = 0; b < 4; ++b) sum[lane] += x[b] * w[4 * lane + b];
      }
      const char* meta = t.meta + v * t.meta_vs;
      for (int lane = 0; lane < 16; ++lane) {
        int32_t sums;
        float scale;
        std::memcpy(&sums, meta + 4 * lane, 4);
        std::memcpy(&scale, meta + 64 + 4 * lane, 4);
        const auto value = static_cast<float>(sum[lane] - t.x_zero[r * t.x_step] * sums);
        t.y[r * t.y_rs + v * t.y_vs + lane] =
            finished(t.finish, value * (scale * t.x_scale[r * t.x_step]), v, lane);
      }
    }
}

void range(const float* x, int64_t n, Int8Range* joined) {
  for (int64_t i = 0; i < n; ++i) {
    joined->finite = joined->finite && std::isfinite(x[i]);
    joined->low = std::min(joined->low, x[i]);
    joined->high = std::max(joined->high, x[i]);
  }
}

uint8_t byte(float x, const Int8ConvLine& line) {
  if (line.inverse == 0) return 0;
  const int32_t whole = static_cast<int32_t>(std::rint(x * line.inverse)) + line.zero;
  return static_cast<uint8_t>(std::clamp(whole, 0, 255));
}

void blocked(const Int8ConvLine& line) {
  for (int64_t i = 0; i < line.pixels; ++i)
    for (int64_t c = 0; c < line.channels; ++c)
      line.q[i * line.q_ps + c] = byte(line.x[c / 16 * line.x_cs + i * 16 + c % 16], line);
}

void planar(const Int8ConvLine& line) {
  for (int64_t i = 0; i < line.pixels; ++i)
    for (int64_t c = 0; c < 4; ++c)
      line.q[i * line.q_ps + c] = byte(c < line.channels ? line.x[c * line.x_cs + i] : 0.0f, line);
}

template <int kTaps, int kSteps>
void depthwise(const Int8DepthwiseLine& line) {
  const auto* w = reinterpret_cast<const int8_t*>(line.w);
  for (int64_t i = 0; i < line.outputs; ++i)
    for (int lane = 0; lane < 16; ++lane) {
      int32_t sum = 0, sums;
      for (int64_t q = 0; q < line.quads; ++q)
        for (int64_t k = 0; k < kTaps; ++k)
          for (int64_t b = 0; b < 4; ++b) {
            const uint8_t* row = line.rows[4 * q + b];
            const int64_t at = line.first + i * kSteps + k;
            const bool inside = row != nullptr && at >= 0 && at < line.width;
            sum += (inside ? row[at * line.step + lane] : line.border[lane]) *
                   w[64 * (q * kTaps + k) + 4 * lane + b];
          }
      float scale;
      std::memcpy(&sums, line.meta + 4 * lane, 4);
      std::memcpy(&scale, line.meta + 64 + 4 * lane, 4);
      const auto value = static_cast<float>(sum - line.x_zero * sums);
      line.y[16 * i + lane] = finished(line.finish, value * (scale * line.x_scale), 0, lane);
    }
}

}  // namespace

#define TESSERA_TAPS(taps) \
  { depthwise<taps, 1>, depthwise<taps, 2> }
#define TESSERA_ROW \
  { tile, tile, tile, tile, tile, tile, tile, tile }
extern "C" const Int8ConvKernels tessera_int8_conv_ref = {
    "ref",
    {TESSERA_ROW, TESSERA_ROW, TESSERA_ROW, TESSERA_ROW, TESSERA_ROW, TESSERA_ROW, TESSERA_ROW,
     TESSERA_ROW, TESSERA_ROW, TESSERA_ROW, TESSERA_ROW, TESSERA_ROW, TESSERA_ROW, TESSERA_ROW},
    range,
    blocked,
    planar,
    {TESSERA_TAPS(1), TESSERA_TAPS(2), TESSERA_TAPS(3), TESSERA_TAPS(4), TESSERA_TAPS(5),
     TESSERA_TAPS(6), TESSERA_TAPS(7)}};
#undef TESSERA_TAPS
#undef TESSERA_ROW

}  // namespace tessera
