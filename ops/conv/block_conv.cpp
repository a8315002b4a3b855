// Weights of a few output and input channels are decoded into the first-level cache and multiplied
// with as many pixels as the second one holds, in register tiles of pixels and output channels.
// Where rows of an image are short a tile takes one pixel of many images, or, of few images, all
// pixels of one, whose patches are copied out first.
#include "ops/conv/block_conv.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "core/parallel.h"
#include "ops/conv/block_kernels.h"
#include "ops/layout/layout.h"

#if defined(__x86_64__)

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock;
constexpr std::int64_t kPanelBytes = 32 << 10;  // of decoded weights
// Positions and bytes of x that a panel is multiplied with.
constexpr std::int64_t kUnitPositions = 1024, kUnitBytes = 512 << 10;
constexpr std::int64_t kShortRow = 7, kManyImages = 8;
constexpr std::int64_t kLinePixels = 112;  // where all pixels of an image make one row

}  // namespace

// ---- the plan ----

BlockConv::BlockConv(const ConvGeometry& geometry, const WeightPanels& weight, int threads)
    : g_(geometry.flattened()),
      panels_(weight),
      threads_(threads),
      in_blocks_(ceil_div(g_.c, kLanes)),
      out_blocks_(ceil_div(g_.out, kLanes)) {
  line_ = g_.ow >= kShortRow                             ? Line::pixels
          : g_.n >= kManyImages || g_.n >= g_.oh * g_.ow ? Line::images
                                                         : Line::patches;
  const std::int64_t needed = (g_.ow - 1) * g_.stride_w + (g_.kw - 1) * g_.dilation_w + 1;
  width_ = line_ == Line::pixels && (g_.left > 0 || needed - g_.left > g_.w) ? needed : 0;
  choose_tile();
  choose_unit();
  for (std::int64_t c = 0; c < kLanes; ++c) {
    for (std::int64_t t = 0; t < taps(); ++t)
      order_.push_back(static_cast<std::int32_t>(t * kLanes + c));
  }
}

void BlockConv::choose_tile() {
  const std::int64_t positions = line_ == Line::pixels   ? g_.ow
                                 : line_ == Line::images ? g_.n
                                                         : g_.oh * g_.ow;
  const auto& table = tessera_block_avx512.tile;
  const std::int64_t block_bytes = taps() * kLanes * kLanes * 4;  // of sixteen output channels
  tile_rows_ = ceil_div(positions, ceil_div(positions, kBlockMaxRows));
  vectors_ = kBlockMaxVectors;
  while (!table[tile_rows_ - 1][vectors_ - 1]) --vectors_;
  while (vectors_ > 2 && vectors_ * block_bytes > kPanelBytes) --vectors_;
  depth_ = std::clamp<std::int64_t>(kPanelBytes / (vectors_ * block_bytes), 1, in_blocks_);
  chunk_ = line_ == Line::pixels && width_ == 0 && g_.oh == 1
               ? ceil_div(kLinePixels, tile_rows_) * tile_rows_
               : positions;
  lines_ = line_ == Line::pixels   ? g_.n * g_.oh * ceil_div(g_.ow, chunk_)
           : line_ == Line::images ? g_.oh * g_.ow
                                   : g_.n;
}

void BlockConv::choose_unit() {
  const std::int64_t positions = std::max<std::int64_t>(1, std::min(chunk_, kUnitPositions));
  std::int64_t fit = kUnitPositions / positions;
  if (line_ == Line::pixels) {
    const std::int64_t row = std::max({width_, g_.w, std::int64_t{1}}) * g_.stride_h;
    fit = std::min(fit, kUnitBytes / (std::min(row, chunk_ * g_.stride_w * g_.stride_h) *
                                      in_blocks_ * kLanes * 4));
  }
  unit_ = std::clamp<std::int64_t>(fit, 1, lines_);
  units_ = ceil_div(lines_, unit_);
  groups_ = ceil_div(out_blocks_, vectors_);
  // Even shares for the threads.
  if (units_ < 2 * threads_)
    groups_ = std::min(out_blocks_, ceil_div(groups_, threads_) * threads_);
}

std::int64_t BlockConv::source(std::int64_t oy, std::int64_t ox, std::int64_t tap) const {
  const std::int64_t iy = oy * g_.stride_h + tap / g_.kw * g_.dilation_h - g_.top;
  const std::int64_t ix = ox * g_.stride_w + tap % g_.kw * g_.dilation_w - g_.left;
  return iy >= 0 && iy < g_.h && ix >= 0 && ix < g_.w ? iy * g_.w + ix : -1;
}

// ---- memory ----

// Off the powers of two.
std::int64_t BlockConv::patch_floats() const {
  return (in_blocks_ * taps() + 1) * kLanes;
}
std::int64_t BlockConv::shared_floats() const {
  if (line_ == Line::images) return g_.n * in_blocks_ * g_.h * g_.w * kLanes;
  return line_ == Line::patches ? g_.n * g_.oh * g_.ow * patch_floats() : 0;
}
std::int64_t BlockConv::copy_floats() const {
  // Of the lines of one image that a unit may hold.
  const std::int64_t rows =
      std::min(g_.h, (std::min(unit_, g_.oh) - 1) * g_.stride_h + (g_.kh - 1) * g_.dilation_h + 1);
  return (ceil_div(unit_, g_.oh) + 1) * rows * in_blocks_ * width_ * kLanes;
}
std::int64_t BlockConv::panel_floats() const {
  return depth_ * taps() * kLanes * vectors_ * kLanes;
}
std::int64_t BlockConv::part_bytes() const {
  return 4 * (panel_floats() + copy_floats()) + up64(16 * depth_ * taps()) +
         static_cast<std::int64_t>(panels_.thread_bytes());
}
std::int64_t BlockConv::scratch_bytes() const {
  return 4 * shared_floats() + table_bytes() + threads_ * part_bytes();
}

// ---- the run ----

// What one thread works with.
class BlockConv::Part {
 public:
  Part(const BlockConv& conv, const WeightPanels::Bound& weight, const float* x, float* y,
       std::byte* scratch)
      : conv_(conv),
        g_(conv.g_),
        weight_(weight),
        x_(x),
        y_(y),
        panel_(reinterpret_cast<float*>(scratch)),
        copy_(panel_ + conv.panel_floats()),
        a_at_(reinterpret_cast<std::int64_t*>(copy_ + conv.copy_floats())),
        b_at_(a_at_ + conv.depth_ * conv.taps()),
        fill_scratch_(reinterpret_cast<std::byte*>(a_at_) + up64(16 * conv.depth_ * conv.taps())) {}

  void multiply(std::int64_t unit, std::int64_t group) {
    line0_ = unit * conv_.unit_;
    line1_ = std::min(line0_ + conv_.unit_, conv_.lines_);
    if (conv_.width_ > 0 && copied_ != unit) copy_rows();
    copied_ = unit;
    v0_ = conv_.first_vector(group);
    v1_ = conv_.first_vector(group + 1);
    for (b0_ = 0; b0_ < conv_.in_blocks_; b0_ = b1_) {
      b1_ = std::min(b0_ + conv_.depth_, conv_.in_blocks_);
      decode();
      rest_ = copy_;
      for (std::int64_t line = line0_; line < line1_; ++line) {
        pieces_ = 0;
        switch (conv_.line_) {
          case Line::pixels:
            multiply_pixels(line);
            break;
          case Line::images:
            multiply_images(line);
            break;
          case Line::patches:
            multiply_patches(line);
            break;
        }
      }
    }
  }

 private:
  // Weights of (block of channels, tap, channel) one after the other.
  void decode() {
    const std::int64_t taps = conv_.taps(), ks = (v1_ - v0_) * kLanes;
    const std::int64_t rows = std::min(ks, g_.out - v0_ * kLanes);
    for (std::int64_t b = b0_; b < b1_; ++b) {
      float* to = panel_ + (b - b0_) * taps * kLanes * ks;
      const std::int64_t known = std::min(kLanes, g_.c - b * kLanes);
      if (known < kLanes) std::fill_n(to, taps * kLanes * ks, 0.0f);
      weight_.fill(v0_ * kLanes, rows, b * kLanes * taps, known * taps, to, ks, kLanes,
                   fill_scratch_, taps > 1 ? conv_.order_.data() : nullptr);
    }
  }

  void add_piece(std::int64_t block, std::int64_t tap, std::int64_t a) {
    a_at_[pieces_] = a;
    b_at_[pieces_++] = ((block - b0_) * conv_.taps() + tap) * kLanes * (v1_ - v0_) * kLanes;
  }
  void tiles(const float* a, std::int64_t a_rs, std::int64_t count, float* c, std::int64_t c_rs) {
    const std::int64_t nv = v1_ - v0_, c_vs = g_.oh * g_.ow * kLanes;
    for (std::int64_t r = 0; r < count; r += conv_.tile_rows_) {
      const std::int64_t n = std::min(conv_.tile_rows_, count - r);
      tessera_block_avx512.tile[n - 1][nv - 1]({a + r * a_rs, a_at_, a_rs, panel_, b_at_,
                                                nv * kLanes, pieces_, c + v0_ * c_vs + r * c_rs,
                                                c_rs, c_vs, b0_ > 0});
    }
  }

  void multiply_images(std::int64_t pixel) {
    for (std::int64_t b = b0_; b < b1_; ++b) {
      for (std::int64_t t = 0; t < conv_.taps(); ++t) {
        const std::int64_t at = conv_.source(pixel / g_.ow, pixel % g_.ow, t);
        if (at >= 0) add_piece(b, t, (b * g_.h * g_.w + at) * g_.n * kLanes);
      }
    }
    tiles(x_, kLanes, g_.n, y_ + pixel * kLanes, conv_.out_blocks_ * g_.oh * g_.ow * kLanes);
  }
  void multiply_patches(std::int64_t image) {
    const std::int64_t pixels = g_.oh * g_.ow;
    for (std::int64_t b = b0_; b < b1_; ++b) {
      for (std::int64_t t = 0; t < conv_.taps(); ++t)
        add_piece(b, t, (b * conv_.taps() + t) * kLanes);
    }
    tiles(x_ + image * pixels * conv_.patch_floats(), conv_.patch_floats(), pixels,
          y_ + image * conv_.out_blocks_ * pixels * kLanes, kLanes);
  }
  void multiply_pixels(std::int64_t line) {
    const std::int64_t chunks = ceil_div(g_.ow, conv_.chunk_);
    const std::int64_t image = line / (g_.oh * chunks), oy = line / chunks % g_.oh;
    const std::int64_t col = line % chunks * conv_.chunk_;
    const float* from = x_ + image * conv_.in_blocks_ * g_.h * g_.w * kLanes;
    std::int64_t top = 0, bottom = g_.h, width = g_.w, left = g_.left;
    if (conv_.width_ > 0) {
      std::tie(top, bottom) = rows_read(image);
      width = conv_.width_;
      left = 0;
      from = rest_;
      if (oy + 1 == g_.oh) rest_ += conv_.in_blocks_ * (bottom - top) * width * kLanes;
    }
    for (std::int64_t b = b0_; b < b1_; ++b) {
      for (std::int64_t p = 0; p < g_.kh; ++p) {
        const std::int64_t iy = oy * g_.stride_h + p * g_.dilation_h - g_.top;
        if (iy < 0 || iy >= g_.h) continue;
        const std::int64_t row = (b * (bottom - top) + iy - top) * width - left;
        for (std::int64_t q = 0; q < g_.kw; ++q)
          add_piece(b, p * g_.kw + q, (row + q * g_.dilation_w) * kLanes);
      }
    }
    tiles(from + col * g_.stride_w * kLanes, g_.stride_w * kLanes,
          std::min(conv_.chunk_, g_.ow - col),
          y_ + ((image * conv_.out_blocks_ * g_.oh + oy) * g_.ow + col) * kLanes, kLanes);
  }

  // Rows [top, bottom) of x that this unit's lines of an image read.
  std::pair<std::int64_t, std::int64_t> rows_read(std::int64_t image) const {
    const std::int64_t first = std::max<std::int64_t>(line0_ - image * g_.oh, 0);
    const std::int64_t last = std::min(line1_ - image * g_.oh, g_.oh) - 1;
    const std::int64_t top = std::clamp<std::int64_t>(first * g_.stride_h - g_.top, 0, g_.h);
    const std::int64_t bottom = last * g_.stride_h + (g_.kh - 1) * g_.dilation_h + 1 - g_.top;
    return {top, std::clamp(bottom, top, g_.h)};
  }
  // They and their borders: [images, blocks, rows, width, 16].
  void copy_rows() {
    const std::int64_t left = std::min(g_.left, conv_.width_);
    const std::int64_t inside = std::min(conv_.width_ - left, g_.w);
    float* to = copy_;
    for (std::int64_t image = line0_ / g_.oh; image * g_.oh < line1_; ++image) {
      const auto [top, bottom] = rows_read(image);
      for (std::int64_t b = 0; b < conv_.in_blocks_; ++b) {
        for (std::int64_t i = top; i < bottom; ++i, to += conv_.width_ * kLanes) {
          std::fill_n(to, left * kLanes, 0.0f);
          std::memcpy(to + left * kLanes,
                      x_ + ((image * conv_.in_blocks_ + b) * g_.h + i) * g_.w * kLanes,
                      static_cast<std::size_t>(inside * kLanes) * sizeof(float));
          std::fill(to + (left + inside) * kLanes, to + conv_.width_ * kLanes, 0.0f);
        }
      }
    }
  }

  const BlockConv& conv_;
  const ConvGeometry& g_;
  const WeightPanels::Bound& weight_;
  const float* x_;  // the images, or what was gathered from them
  float* y_;
  float *panel_, *copy_;
  std::int64_t *a_at_, *b_at_, pieces_ = 0;
  void* fill_scratch_;
  std::int64_t copied_ = -1;  // unit
  std::int64_t line0_ = 0, line1_ = 0, v0_ = 0, v1_ = 0, b0_ = 0, b1_ = 0;
  const float* rest_ = nullptr;  // of the copy, from the line's image on
};

void BlockConv::run(const float* x, const CodebookView& view, const void* packed, float* y,
                    std::byte* scratch) const {
  auto* shared = reinterpret_cast<float*>(scratch);
  std::byte* tables = scratch + 4 * shared_floats();
  const WeightPanels::Bound weight = panels_.bind(view, packed, tables);
  if (line_ == Line::images) gather_images(x, shared);
  if (line_ == Line::patches) gather_patches(x, shared);
  const std::int64_t items = units_ * groups_, parts = std::min(threads_, items);
  parallel_parts(parts, [&](std::int64_t part) {
    Part own(*this, weight, line_ == Line::pixels ? x : shared, y,
             tables + table_bytes() + part * part_bytes());
    for (std::int64_t i = items * part / parts; i < items * (part + 1) / parts; ++i)
      own.multiply(i / groups_, i % groups_);
  });
}

// [blocks, pixels, n, 16]: a pixel's images side by side.
void BlockConv::gather_images(const float* x, float* to) const {
  const std::int64_t pixels = g_.h * g_.w;
  parallel_for(in_blocks_ * pixels, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t n = 0; n < g_.n; ++n)
        std::memcpy(to + (i * g_.n + n) * kLanes, x + (n * in_blocks_ * pixels + i) * kLanes, 64);
    }
  });
}

// [n, pixels of y, blocks, taps, 16]
void BlockConv::gather_patches(const float* x, float* to) const {
  parallel_for(g_.n * g_.oh * g_.ow, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t n = i / (g_.oh * g_.ow), oy = i / g_.ow % g_.oh, ox = i % g_.ow;
      for (std::int64_t t = 0; t < taps(); ++t) {
        const std::int64_t at = source(oy, ox, t);
        for (std::int64_t b = 0; b < in_blocks_; ++b) {
          float* lanes = to + i * patch_floats() + (b * taps() + t) * kLanes;
          if (at >= 0) {
            std::memcpy(lanes, x + ((n * in_blocks_ + b) * g_.h * g_.w + at) * kLanes, 64);
          } else {
            std::memset(lanes, 0, 64);
          }
        }
      }
    }
  });
}

}  // namespace tessera

#endif
