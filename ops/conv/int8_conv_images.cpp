// Images of a convolution in integers as bytes, with their borders: rounded, or copied where they
// are bytes already; and patches of them.
#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "ops/conv/int8_conv.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock, kQuad = 4;
constexpr std::int64_t kRounded = 64;  // channels, a cache line of bytes

}  // namespace

std::int64_t Int8Conv::image_floats() const {
  return (form_ == ImageForm::blocks ? ceil_div(g_.c, kLanes) * kLanes : g_.c) * g_.h * g_.w;
}

bool Int8Conv::direct() const {
  return form_ == ImageForm::bytes && line_ != Line::images && g_.top == 0 && g_.left == 0 &&
         height_ == g_.h && width_ == g_.w;
}

// The range of all parts of an image as its scale and zero point.
void Int8Conv::measure(const Shared& s, std::int64_t image0, std::int64_t image, int parts) const {
  const std::int64_t floats = image_floats();
  const float* x = reinterpret_cast<const float*>(s.x) + (image0 + image) * floats;
  // A part of its own for each, or the caller's.
  Int8Range own, *ranges = parts == 1 ? &own : s.ranges;
  parallel_parts(parts, [&](std::int64_t part) {
    ranges[part] = {};
    const std::int64_t begin = floats * part / parts;
    kernels_->range(x + begin, floats * (part + 1) / parts - begin, &ranges[part]);
  });
  Int8Range all;
  for (int part = 0; part < parts; ++part) join(all, ranges[part]);
  settle(all, &s.scale[image], &s.zero[image]);
}

// Writes the borders of row `row` of an image of bytes, if asked to; what is between them.
Int8Conv::Row Int8Conv::open_row(const Shared& s, std::int64_t image, std::int64_t row,
                                 bool borders) const {
  const bool apart = line_ == Line::images;
  const std::int64_t step = apart ? unit_ * depth_ : depth_;
  std::uint8_t* to =
      s.bytes + (apart ? image * depth_ : image * image_bytes()) + row * width_ * step;
  const std::int64_t y = row - g_.top;
  const bool none = y < 0 || y >= g_.h;
  const std::int64_t left = none ? width_ : std::min(g_.left, width_);
  const std::int64_t inside = none ? 0 : std::min(width_ - left, g_.w);
  for (std::int64_t i = 0; borders && i < width_; ++i) {
    if (i == left) i += inside;
    if (i < width_) std::memset(to + i * step, s.zero[image], static_cast<std::size_t>(depth_));
  }
  return {to + left * step, step, inside, y};
}

// Row `row` of an image with its borders, channels from `channel` on: four blocks, or four.
void Int8Conv::round_row(const Shared& s, std::int64_t image0, std::int64_t image, std::int64_t row,
                         std::int64_t channel) const {
  const Row inside = open_row(s, image, row, channel == 0);
  if (inside.pixels == 0) return;
  const std::int64_t n = image0 + image, plane = g_.h * g_.w;
  const float scale = s.scale[image];
  Int8ConvLine line{};
  line.x_cs = plane;
  line.pixels = inside.pixels;
  line.q = inside.to + channel;
  line.q_ps = inside.step;
  line.inverse = scale > 0 ? 1.0f / scale : 0.0f;
  line.zero = s.zero[image];
  const auto* x = reinterpret_cast<const float*>(s.x);
  if (form_ == ImageForm::blocks) {
    line.x =
        x + ((n * ceil_div(g_.c, kLanes) + channel / kLanes) * plane + inside.y * g_.w) * kLanes;
    line.x_cs = plane * kLanes;
    line.channels = static_cast<std::int32_t>(std::min(kRounded, depth_ - channel));
    kernels_->blocked(line);
  } else {
    line.x = x + (n * g_.c + channel) * plane + inside.y * g_.w;
    line.channels = static_cast<std::int32_t>(std::min(kQuad, g_.c - channel));
    kernels_->planar(line);
  }
}

// The same of bytes, all channels.
void Int8Conv::copy_row(const Shared& s, std::int64_t image0, std::int64_t image,
                        std::int64_t row) const {
  const Row inside = open_row(s, image, row, true);
  if (inside.pixels == 0) return;
  const std::byte* from = s.x + (image0 + image) * source_.image_bytes + inside.y * g_.w * depth_;
  if (inside.step == depth_) {
    std::memcpy(inside.to, from, static_cast<std::size_t>(inside.pixels * depth_));
    return;
  }
  for (std::int64_t i = 0; i < inside.pixels; ++i)
    std::memcpy(inside.to + i * inside.step, from + i * depth_, static_cast<std::size_t>(depth_));
}

void Int8Conv::take(const Shared& s, std::int64_t image0, std::int64_t images) const {
  std::memcpy(s.scale, s.x + source_.scale_at + 4 * image0, static_cast<std::size_t>(4 * images));
  std::memcpy(s.zero, s.x + source_.zero_at + 4 * image0, static_cast<std::size_t>(4 * images));
  if (direct()) return;
  const std::int64_t items = images * height_, parts = std::min<std::int64_t>(threads_, items);
  parallel_parts(parts, [&](std::int64_t part) {
    for (std::int64_t i = items * part / parts; i < items * (part + 1) / parts; ++i)
      copy_row(s, image0, i / height_, i % height_);
  });
}

void Int8Conv::round(const Shared& s, std::int64_t image0, std::int64_t images) const {
  const std::int64_t each = form_ == ImageForm::blocks ? kRounded : kQuad;
  const std::int64_t channels = ceil_div(depth_, each);
  const std::int64_t items = height_ * channels;
  const auto rows = [&](std::int64_t image, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      round_row(s, image0, image, i / channels, i % channels * each);
  };
  const bool whole = images >= threads_;
  if (!whole) {
    for (std::int64_t image = 0; image < images; ++image) {
      measure(s, image0, image, threads_);
      parallel_parts(threads_, [&](std::int64_t part) {
        rows(image, items * part / threads_, items * (part + 1) / threads_);
      });
    }
    return;
  }
  parallel_parts(threads_, [&](std::int64_t part) {
    for (std::int64_t i = images * part / threads_; i < images * (part + 1) / threads_; ++i) {
      measure(s, image0, i, 1);
      rows(i, 0, items);
    }
  });
}

// [images, pixels of y, patch]
void Int8Conv::gather_patches(const Shared& s, std::int64_t images) const {
  const std::int64_t pixels = g_.oh * g_.ow, bytes = piece_quads_ * kQuad;
  parallel_parts(std::min<std::int64_t>(threads_, images * pixels), [&](std::int64_t part) {
    const std::int64_t parts = std::min<std::int64_t>(threads_, images * pixels);
    const std::int64_t end = images * pixels * (part + 1) / parts;
    for (std::int64_t i = images * pixels * part / parts; i < end; ++i) {
      const std::int64_t oy = i / g_.ow % g_.oh, ox = i % g_.ow;
      const std::uint8_t* from = s.bytes + i / pixels * image_bytes() +
                                 (oy * g_.stride_h * width_ + ox * g_.stride_w) * depth_;
      std::uint8_t* to = s.patches + i * patch_bytes();
      for (const std::int64_t tap : taps_) {
        std::memcpy(to, from + tap, static_cast<std::size_t>(bytes));
        to += bytes;
      }
    }
  });
}

}  // namespace tessera
