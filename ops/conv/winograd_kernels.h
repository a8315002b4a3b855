// Winograd's F(4x4, 3x3) transforms (Lavin & Gray 2016, "Fast algorithms for convolutional neural
// networks", section 4.3), sixteen channels at a time: plain structs between winograd_rows.cpp and
// the files compiled with wide instruction sets.
#pragma once

#include <stdint.h>

namespace tessera {

inline constexpr int64_t kWinogradPoints = 36;  // 6 x 6
inline constexpr int64_t kWinogradTile = 4;     // pixels of a tile's side; it reads two more

// Pixels are vectors of 16 floats, `ld` floats from one row of pixels to the next; point e of a
// transform lies at p[e * stride].
struct WinogradKernels {
  const char* name;
  // B^T d B of 6 x 6 pixels.
  void (*input)(const float* d, int64_t ld, float* v, int64_t stride);
  // A^T m A: 4 x 4 pixels.
  void (*output)(const float* m, int64_t stride, float* y, int64_t ld);
  // A dy A^T of 4 x 4 pixels: the transpose of `output`.
  void (*output_transposed)(const float* dy, int64_t ld, float* m, int64_t stride);
  // G g G^T of sixteen 3 x 3 filters: tap q of filter l at g[l * filter_stride + q * tap_stride].
  void (*filter)(const float* g, int64_t filter_stride, int64_t tap_stride, float* u,
                 int64_t stride);
  // G^T u G, the transpose of `filter`: tap q of filter l < lanes goes to
  // g[l * filter_stride + q].
  void (*filter_transposed)(const float* u, int64_t stride, float* g, int64_t filter_stride,
                            int64_t lanes);
};

#if defined(__x86_64__)
extern "C" const WinogradKernels tessera_winograd_avx512;
#endif

}  // namespace tessera
