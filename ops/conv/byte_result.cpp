#include "ops/conv/byte_result.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/parallel.h"
#include "ops/codebook/int8_kernels.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock, kPixels = 64;  // that a thread rounds at once

#include "ops/codebook/int8_range-inl.h"

// Of what a kernel noted.
Int8Range range_of(const std::uint32_t* seen) {
  std::int32_t high = 0;
  std::uint32_t low = 0;
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    high = std::max(high, std::bit_cast<std::int32_t>(seen[lane]));
    low = std::max(low, seen[kLanes + lane]);
  }
  const Range range = range_of(high, low);
  return {range.low, range.high, range.finite};
}

}  // namespace

void join(Int8Range& range, const Int8Range& other) {
  range.low = std::min(range.low, other.low);
  range.high = std::max(range.high, other.high);
  range.finite = range.finite && other.finite;
}

void settle(const Int8Range& range, float* scale, std::int32_t* zero) {
  const bool none = !range.finite || !(range.high - range.low >= kInt8LeastRange);
  *scale = !range.finite ? std::numeric_limits<float>::quiet_NaN()
           : none        ? 0.0f
                         : range.high / 255.0f - range.low / 255.0f;
  *zero = none ? 0 : std::min(255, static_cast<int>(std::rint(-range.low * (1.0f / *scale))));
}

ByteResult::ByteResult(const ConvGeometry& g, std::int64_t images, int threads)
    : blocks_(ceil_div(g.out, kLanes)),
      pixels_(g.oh * g.ow),
      images_(images),
      threads_(threads),
      to_({g.n, g.out, g.oh, g.ow}) {}

std::int64_t ByteResult::floats_bytes() const {
  return 4 * images_ * blocks_ * pixels_ * kLanes;
}
std::int64_t ByteResult::ranges_bytes() const {
  return up64(threads_ * images_ * static_cast<std::int64_t>(sizeof(Int8Range)));
}
std::int64_t ByteResult::scratch_bytes() const {
  return floats_bytes() + ranges_bytes() + 4 * threads_ * images_ * kSeen;
}

ByteResult::Run::Run(const ByteResult& result, const Int8ConvKernels& kernels, std::byte* scratch,
                     std::int64_t images)
    : result_(result),
      kernels_(kernels),
      floats_(reinterpret_cast<float*>(scratch)),
      ranges_(reinterpret_cast<Int8Range*>(scratch + result.floats_bytes())),
      seen_(reinterpret_cast<std::uint32_t*>(scratch + result.floats_bytes() +
                                             result.ranges_bytes())),
      images_(images) {
  std::fill_n(ranges_, result.threads_ * result.images_, Int8Range{});
  std::fill_n(seen_, result.threads_ * result.images_ * kSeen, 0u);
}

void ByteResult::Run::see(std::int64_t part, std::int64_t image, std::int64_t block0,
                          std::int64_t block1, std::int64_t pixel0, std::int64_t pixel1) const {
  Int8Range* range = ranges_ + part * result_.images_ + image;
  for (std::int64_t b = block0; b < block1; ++b) {
    const std::int64_t at = (image * result_.blocks_ + b) * result_.pixels_ + pixel0;
    kernels_.range(floats_ + at * kLanes, (pixel1 - pixel0) * kLanes, range);
  }
}

void ByteResult::Run::write(std::int64_t image0, std::byte* y) const {
  const ByteImages& to = result_.to_;
  const std::int64_t pixels = result_.pixels_, chunks = ceil_div(pixels, kPixels);
  const auto numbers = [&](std::int64_t image, float* scale, std::int32_t* zero) {
    Int8Range all;
    for (int part = 0; part < result_.threads_; ++part) {
      join(all, ranges_[part * result_.images_ + image]);
      join(all, range_of(seen(part, image)));
    }
    settle(all, scale, zero);
  };
  for (std::int64_t image = 0; image < images_; ++image) {
    float scale;
    std::int32_t zero;
    numbers(image, &scale, &zero);
    std::memcpy(y + to.scale_at + 4 * (image0 + image), &scale, 4);
    std::memcpy(y + to.zero_at + 4 * (image0 + image), &zero, 4);
  }
  const std::int64_t items = images_ * chunks;
  const std::int64_t parts = std::min<std::int64_t>(result_.threads_, items);
  parallel_parts(parts, [&](std::int64_t part) {
    for (std::int64_t i = items * part / parts; i < items * (part + 1) / parts; ++i) {
      const std::int64_t image = i / chunks, pixel = i % chunks * kPixels;
      float scale;
      Int8ConvLine line{};
      std::memcpy(&scale, y + to.scale_at + 4 * (image0 + image), 4);
      std::memcpy(&line.zero, y + to.zero_at + 4 * (image0 + image), 4);
      line.inverse = scale > 0 ? 1.0f / scale : 0.0f;
      line.pixels = std::min(kPixels, pixels - pixel);
      line.q_ps = to.depth;
      line.x = floats_ + (image * result_.blocks_ * pixels + pixel) * kLanes;
      line.x_cs = pixels * kLanes;
      line.q =
          reinterpret_cast<std::uint8_t*>(y) + (image0 + image) * to.image_bytes + pixel * to.depth;
      line.channels = static_cast<std::int32_t>(to.depth);
      kernels_.blocked(line);
    }
  });
}

}  // namespace tessera
