// Sums for each channel of an image: per plane (image and channel, or block of channels) in f32,
// then over images in f64, in a fixed order.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "ops/layout/layout.h"
#include "ops/norm/kernels.h"
#include "ops/op_common.h"

namespace tessera {

inline constexpr std::int64_t kPlaneGrain = 16384;  // elements that are worth another thread

const NormKernels& norm_kernels(CpuFeatures features);

// Two sums for each channel: per plane (image and channel, or block of channels) in f32, then over
// images in f64.
struct PlaneSums {
  std::int64_t n, c, pixels, blocks, lanes;
  const NormKernels* kernels;

  PlaneSums(const Shape& x, bool blocked, const NormKernels* kernels)
      : n(x[0].value()),
        c(x[1].value()),
        pixels(product(x, 2, x.rank())),
        blocks(blocked ? channel_blocks(x) : c),
        lanes(blocked ? kLayoutBlock : 1),
        kernels(kernels) {}

  std::int64_t plane() const { return pixels * lanes; }
  std::int64_t scratch_bytes() const { return 2 * n * blocks * lanes * 4; }

  // fn(plane offset, first channel, sums, squares) for every plane.
  template <class Fn>
  void run(float* scratch, Fn&& fn) const {
    float* second = scratch + n * blocks * lanes;
    parallel_for(n * blocks,
                 std::max<std::int64_t>(1, kPlaneGrain / std::max<std::int64_t>(plane(), 1)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i)
                     fn(i * plane(), i % blocks * lanes, scratch + i * lanes, second + i * lanes);
                 });
  }
  // finish(channel, first total, second total)
  template <class Fn>
  void total(const float* scratch, Fn&& finish) const {
    const std::int64_t width = blocks * lanes;
    const float* second = scratch + n * width;
    parallel_for(c, 1 + kPlaneGrain / std::max<std::int64_t>(n, 1),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t ch = begin; ch < end; ++ch) {
                     double a = 0, b = 0;
                     for (std::int64_t i = 0; i < n; ++i) {
                       a += scratch[i * width + ch];
                       b += second[i * width + ch];
                     }
                     finish(ch, a, b);
                   }
                 });
  }
  // The per-channel operand of a plane; zeros past the last channel.
  const float* channel(const float* values, std::int64_t first, float* padded) const {
    if (first + lanes <= c) return values + first;
    for (std::int64_t l = 0; l < lanes; ++l) padded[l] = first + l < c ? values[first + l] : 0.0f;
    return padded;
  }
};

// sum of a rank-4 operand, dense or blocked, over all axes but the channels.
KernelPlan plan_channel_sums(const KernelQuery& query, CpuFeatures features);

}  // namespace tessera
