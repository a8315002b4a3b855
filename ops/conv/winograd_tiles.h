// Tiles of images for Winograd's convolution, and products of what they are transformed to.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/conv/winograd_kernels.h"
#include "ops/matmul/gemm_kernels.h"

namespace tessera {

// Tiles of an image [n, c, h, w] that give the pixels of [n, ., oh, ow].
struct WinogradTiles {
  std::int64_t n, h, w, oh, ow, top, left;
  std::int64_t down, across;  // of one image

  WinogradTiles(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t oh, std::int64_t ow,
                std::int64_t top, std::int64_t left)
      : n(n),
        h(h),
        w(w),
        oh(oh),
        ow(ow),
        top(top),
        left(left),
        down((oh + kWinogradTile - 1) / kWinogradTile),
        across((ow + kWinogradTile - 1) / kWinogradTile) {}
  std::int64_t count() const { return n * down * across; }
};

// Floats from one point of transforms to the next for so many values of a point: not the power of
// two that would put all points of a tile into the same lines of the first-level cache.
constexpr std::int64_t winograd_stride(std::int64_t values) {
  return values + kGemmLanes;
}

// B^T d B of tiles [first + begin, first + end) of a blocked image x of `blocks` blocks: point e of
// channel c of tile first + t at v[e * stride + t * blocks * 16 + c].
void transform_input(const WinogradTiles& g, const WinogradKernels& kernels, const float* x,
                     std::int64_t blocks, std::int64_t first, std::int64_t begin, std::int64_t end,
                     float* v, std::int64_t stride);

// A^T m A of tiles [first, first + count) to blocks [block0, block1) of the blocked image y of
// `blocks` blocks: point e of channel c of tile first + t at
// m[e * stride + t * (block1 - block0) * 16 + c].
void transform_output(const WinogradTiles& g, const WinogradKernels& kernels, const float* m,
                      std::int64_t stride, std::int64_t blocks, std::int64_t block0,
                      std::int64_t block1, std::int64_t first, std::int64_t count, float* y);

// c[rows, n] (+)= a[rows, k] b[k, n], n a multiple of 16, in register tiles.
struct WinogradProduct {
  const GemmKernels* kernels;
  std::int64_t rows, k, n;
  std::int64_t a_rs, a_cs;
  bool accumulate;

  void run(const float* a, const float* b, float* c) const;
};

// y = conv(x, w) of blocked images, and dx = conv(dy, w turned over and transposed), with a weight
// that is transformed: point e of input channel c and output channel o at u[(e * in + c) * out +
// o]. Threads take blocks of tiles.
struct WinogradConvolution {
  WinogradTiles tiles;
  const WinogradKernels* kernels;
  const GemmKernels* gemm;
  std::int64_t in_blocks, out_blocks, block;  // block: tiles at once
  std::int64_t threads;

  std::int64_t v_floats() const {
    return kWinogradPoints * winograd_stride(block * in_blocks * kGemmLanes);
  }
  std::int64_t m_floats() const {
    return kWinogradPoints * winograd_stride(block * out_blocks * kGemmLanes);
  }
  std::int64_t part_bytes() const { return (v_floats() + m_floats()) * 4; }

  void run(const float* x, const float* u, float* y, std::byte* scratch) const;

 private:
  void run_block(const float* x, const float* u, float* y, std::int64_t first, std::int64_t n,
                 float* v, float* m) const;
};

// Tiles at once for so many channels of x and y together: what fits the cache, in whole register
// tiles.
std::int64_t winograd_block(std::int64_t channels);

}  // namespace tessera
