#include "ops/conv/winograd_tiles.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

constexpr std::int64_t kPixel = kLayoutBlock;
constexpr std::int64_t kBlockBytes = 384 << 10;  // of transformed tiles
constexpr std::int64_t kMostTiles = 56;

}  // namespace

void transform_input(const WinogradTiles& g, const WinogradKernels& kernels, const float* x,
                     std::int64_t blocks, std::int64_t first, std::int64_t begin, std::int64_t end,
                     float* v, std::int64_t stride) {
  alignas(64) float padded[kWinogradPoints * kPixel];
  const std::int64_t channels = blocks * kPixel, plane = g.h * g.w * kPixel;
  for (std::int64_t t = begin; t < end; ++t) {
    const std::int64_t tile = first + t, image = tile / (g.down * g.across);
    const std::int64_t row = tile / g.across % g.down * kWinogradTile - g.top;
    const std::int64_t col = tile % g.across * kWinogradTile - g.left;
    const bool inside = row >= 0 && col >= 0 && row + 6 <= g.h && col + 6 <= g.w;
    for (std::int64_t b = 0; b < blocks; ++b) {
      const float* from = x + (image * blocks + b) * plane;
      float* to = v + t * channels + b * kPixel;
      if (inside) {
        kernels.input(from + (row * g.w + col) * kPixel, g.w * kPixel, to, stride);
        continue;
      }
      const std::int64_t j0 = std::max<std::int64_t>(0, -col),
                         j1 = std::min<std::int64_t>(6, g.w - col);
      for (std::int64_t i = 0; i < 6; ++i) {
        float* line = padded + i * 6 * kPixel;
        if (row + i < 0 || row + i >= g.h || j1 <= j0) {
          std::fill_n(line, 6 * kPixel, 0.0f);
          continue;
        }
        std::fill_n(line, j0 * kPixel, 0.0f);
        std::memcpy(line + j0 * kPixel, from + ((row + i) * g.w + col + j0) * kPixel,
                    static_cast<std::size_t>((j1 - j0) * kPixel) * sizeof(float));
        std::fill(line + j1 * kPixel, line + 6 * kPixel, 0.0f);
      }
      kernels.input(padded, 6 * kPixel, to, stride);
    }
  }
}

void transform_output(const WinogradTiles& g, const WinogradKernels& kernels, const float* m,
                      std::int64_t stride, std::int64_t blocks, std::int64_t block0,
                      std::int64_t block1, std::int64_t first, std::int64_t count, float* y) {
  const std::int64_t channels = (block1 - block0) * kPixel;
  alignas(64) float pixels[kWinogradTile * kWinogradTile * kPixel];
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t tile = first + t, image = tile / (g.down * g.across);
    const std::int64_t row = tile / g.across % g.down * kWinogradTile;
    const std::int64_t col = tile % g.across * kWinogradTile;
    const std::int64_t height = std::min(kWinogradTile, g.oh - row);
    const std::int64_t width = std::min(kWinogradTile, g.ow - col);
    for (std::int64_t b = block0; b < block1; ++b) {
      float* to = y + (((image * blocks + b) * g.oh + row) * g.ow + col) * kPixel;
      const float* from = m + t * channels + (b - block0) * kPixel;
      if (height == kWinogradTile && width == kWinogradTile) {
        kernels.output(from, stride, to, g.ow * kPixel);
        continue;
      }
      kernels.output(from, stride, pixels, kWinogradTile * kPixel);
      for (std::int64_t i = 0; i < height; ++i) {
        std::memcpy(to + i * g.ow * kPixel, pixels + i * kWinogradTile * kPixel,
                    static_cast<std::size_t>(width * kPixel) * sizeof(float));
      }
    }
  }
}

void WinogradProduct::run(const float* a, const float* b, float* c) const {
  const std::int64_t vectors = n / kGemmLanes;
  for (std::int64_t v = 0; v < vectors;) {
    const auto most = static_cast<std::int64_t>(vectors == 1 ? 1 : vectors % 3 == 0 ? 3 : 2);
    const std::int64_t wide = std::min(most, vectors - v);
    // As many rows as the registers hold beside `wide` vectors of b.
    std::int64_t tall = 1;
    while (tall < kGemmMaxRows && kernels->tile[tall][wide - 1]) ++tall;
    const std::int64_t tiles = (rows + tall - 1) / tall;
    for (std::int64_t i = 0; i < tiles; ++i) {
      const std::int64_t r0 = rows * i / tiles, r1 = rows * (i + 1) / tiles;
      kernels->tile[r1 - r0 - 1][wide - 1]({a + r0 * a_rs, a_rs, a_cs, b + v * kGemmLanes, n,
                                            kGemmLanes, c + r0 * n + v * kGemmLanes, n, k,
                                            kGemmLanes, accumulate});
    }
    v += wide;
  }
}

void WinogradConvolution::run(const float* x, const float* u, float* y, std::byte* scratch) const {
  const std::int64_t count = tiles.count(), blocks = (count + block - 1) / block;
  const std::int64_t parts = std::min(threads, blocks);
  parallel_parts(parts, [&](std::int64_t part) {
    auto* v = reinterpret_cast<float*>(scratch + part * part_bytes());
    float* m = v + v_floats();
    for (std::int64_t b = blocks * part / parts; b < blocks * (part + 1) / parts; ++b) {
      const std::int64_t first = b * block, n = std::min(block, count - first);
      run_block(x, u, y, first, n, v, m);
    }
  });
}

void WinogradConvolution::run_block(const float* x, const float* u, float* y, std::int64_t first,
                                    std::int64_t n, float* v, float* m) const {
  const std::int64_t in = in_blocks * kPixel, out = out_blocks * kPixel;
  const std::int64_t v_stride = winograd_stride(n * in), m_stride = winograd_stride(n * out),
                     u_stride = winograd_stride(in * out);
  transform_input(tiles, *kernels, x, in_blocks, first, 0, n, v, v_stride);
  const WinogradProduct product{gemm, n, in, out, in, 1, false};
  for (std::int64_t e = 0; e < kWinogradPoints; ++e)
    product.run(v + e * v_stride, u + e * u_stride, m + e * m_stride);
  transform_output(tiles, *kernels, m, m_stride, out_blocks, 0, out_blocks, first, n, y);
}

std::int64_t winograd_block(std::int64_t channels) {
  const std::int64_t fit = kBlockBytes / (kWinogradPoints * channels * 4);
  return std::clamp<std::int64_t>(fit / 14 * 14, 14, kMostTiles);
}

}  // namespace tessera
