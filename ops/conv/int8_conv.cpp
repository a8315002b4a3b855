// Images are rounded to bytes a unit at a time, channels side by side, with their borders; entries
// of the weights of some output channels, all their columns, are looked up into the second-level
// cache and multiplied with a unit, in register tiles of pixels and output channels whose sums
// never leave the registers. Where rows of an image are short a tile takes one pixel of many
// images, or, of few images, all pixels of one, whose patches are copied out first.
#include "ops/conv/int8_conv.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/codebook/int8_matmul.h"
#include "ops/conv/int8_finish.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock, kQuad = 4;
constexpr std::int64_t kShortRow = 7, kManyImages = 8;
constexpr std::int64_t kLinePixels = 112;  // where all pixels of an image make one row
// Bytes of images, for each thread, and positions, that looked up weights are multiplied with.
constexpr std::int64_t kUnitBytes = 192 << 10, kUnitPositions = 1024;
constexpr std::int64_t kMostUnitBytes = 4 << 20;    // for the sake of positions
constexpr std::int64_t kMostResultBytes = 2 << 20;  // of floats that become bytes, for each thread
constexpr std::int64_t kCacheLine = 64;
constexpr std::int64_t kFirstLevel = 32 << 10;  // bytes
constexpr std::int64_t kHotPixels = 256;        // of results that the epilogue finds in cache
constexpr double kThreadWork = 2e6;             // products worth a thread

int threads_of(const ConvGeometry& g, int threads) {
  return static_cast<int>(std::clamp<double>(g.flops() / 2 / kThreadWork, 1, threads));
}

}  // namespace

const Int8ConvKernels& int8_conv_kernels(CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx2 | kAvx512 | kVnni)) return tessera_int8_conv_avx512vnni;
  if (features.includes(kAvx2 | kAvxVnni)) return tessera_int8_conv_avxvnni;
  if (features.includes(kAvx2)) return tessera_int8_conv_avx2;
#endif
  (void)features;
  return tessera_int8_conv_ref;
}

std::vector<std::int32_t> int8_conv_order(const ConvGeometry& g) {
  std::vector<std::int32_t> out;
  const std::int64_t taps = g.kh * g.kw;
  for (std::int64_t t = 0; t < taps; ++t) {
    for (std::int64_t c = 0; c < ceil_div(g.c, kQuad) * kQuad; ++c)
      out.push_back(c < g.c ? static_cast<std::int32_t>(c * taps + t) : -1);
  }
  return out;
}

// ---- the plan ----

Int8Conv::Int8Conv(const ConvGeometry& geometry, const CodebookView& weight, ImageForm form,
                   bool to_bytes, CpuFeatures features, int threads)
    : g_(geometry.flattened()),
      view_(arranged(weight, g_.kh * g_.kw * ceil_div(g_.c, kQuad) * kQuad)),
      layout_(layout_of_int8(view_)),
      weights_(&int8_kernels(features)),
      kernels_(&int8_conv_kernels(features)),
      form_(form),
      source_({g_.n, g_.c, g_.h, g_.w}),
      threads_(threads_of(g_, threads)),
      line_(g_.ow >= kShortRow                             ? Line::pixels
            : g_.n >= kManyImages || g_.n >= g_.oh * g_.ow ? Line::images
                                                           : Line::patches),
      out_blocks_(ceil_div(g_.out, kLanes)),
      height_((g_.oh - 1) * g_.stride_h + (g_.kh - 1) * g_.dilation_h + 1),
      width_((g_.ow - 1) * g_.stride_w + (g_.kw - 1) * g_.dilation_w + 1),
      depth_(ceil_div(g_.c, kQuad) * kQuad) {
  TESSERA_ASSERT(int8_fits(view_));
  choose_unit();
  if (to_bytes) {
    const std::int64_t floats = 4 * out_blocks_ * kLanes * g_.oh * g_.ow;
    unit_ = std::clamp<std::int64_t>(threads_ * kMostResultBytes / floats, 1, unit_);
    result_.emplace(g_, unit_, threads_);
  }
  choose_tile();
  const std::int64_t pixel = line_ == Line::images ? unit_ * depth_ : depth_;
  const bool adjacent = line_ != Line::images && g_.dilation_w == 1;
  for (std::int64_t p = 0; p < g_.kh; ++p) {
    for (std::int64_t q = 0; q < (adjacent ? 1 : g_.kw); ++q)
      taps_.push_back((p * g_.dilation_h * width_ + q * g_.dilation_w) * pixel);
  }
  piece_quads_ = (adjacent ? g_.kw : 1) * depth_ / kQuad;
  x_rs_ = line_ == Line::images ? depth_ : g_.stride_w * depth_;
}

void Int8Conv::choose_unit() {
  const std::int64_t fit = threads_ * kUnitBytes / image_bytes();
  const std::int64_t needed =
      std::min(ceil_div(kUnitPositions, std::max<std::int64_t>(g_.oh * g_.ow, 1)),
               threads_ * kMostUnitBytes / image_bytes());
  unit_ = std::clamp<std::int64_t>(std::max(fit, needed), 1, std::max<std::int64_t>(g_.n, 1));
  unit_ = ceil_div(g_.n, std::max<std::int64_t>(ceil_div(g_.n, unit_), 1));
  unit_ = std::max<std::int64_t>(unit_, 1);
}

std::int64_t Int8Conv::positions() const {
  return line_ == Line::pixels ? chunk_ : line_ == Line::images ? unit_ : g_.oh * g_.ow;
}

// Half cycles of a quad of all output channels and a line's positions: dot products, loads of both
// operands, and weights from the second-level cache.
std::int64_t Int8Conv::tile_cost(std::int64_t vectors, std::int64_t rows) const {
  const std::int64_t groups = ceil_div(out_blocks_, vectors);
  const std::int64_t tiles = ceil_div(positions(), rows);
  std::int64_t cost = 0;
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t v = out_blocks_ * (group + 1) / groups - out_blocks_ * group / groups;
    const std::int64_t held = layout_.steps * 512 * v;
    cost += tiles * std::max({rows * v, rows + v + 1, held > kFirstLevel ? 5 * v / 2 : 0});
  }
  return cost;
}

void Int8Conv::choose_tile() {
  chunk_ = g_.ow;
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t v = 1; v <= std::min<std::int64_t>(kInt8ConvVectors, out_blocks_); ++v) {
    std::int64_t most = kInt8ConvRows;
    while (most > 0 && !kernels_->tile[most - 1][v - 1]) --most;
    if (most == 0) break;
    const std::int64_t line = std::max<std::int64_t>(positions(), 1);
    const std::int64_t rows = ceil_div(line, ceil_div(line, most));
    if (tile_cost(v, rows) >= best) continue;
    best = tile_cost(v, rows);
    vectors_ = v;
    tile_rows_ = rows;
  }
  if (line_ == Line::pixels && g_.oh == 1)
    chunk_ = std::min(g_.ow, ceil_div(kLinePixels, tile_rows_) * tile_rows_);
  groups_ = ceil_div(out_blocks_, vectors_);
}

// ---- memory ----

// Off the powers of two.
std::int64_t Int8Conv::patch_bytes() const {
  return up64(view_.cols) + 64;
}
std::int64_t Int8Conv::unit_bytes() const {
  return up64(unit_ * image_bytes());
}
std::int64_t Int8Conv::part_bytes() const {
  return layout_.form == 8 ? 0 : vectors_ * layout_.steps * 512;
}

std::int64_t Int8Conv::scratch_bytes() const {
  const std::int64_t patches =
      line_ == Line::patches ? unit_ * g_.oh * g_.ow * patch_bytes() : std::int64_t{0};
  const auto ranges = static_cast<std::int64_t>(sizeof(Int8Range));
  return unit_bytes() + patches + 2 * up64(4 * unit_) + up64(threads_ * ranges) +
         threads_ * part_bytes() + (result_ ? result_->scratch_bytes() : 0);
}

// ---- products ----

// What one thread works with.
class Int8Conv::Part {
 public:
  Part(const Int8Conv& conv, const Shared& shared, std::int64_t part, std::int64_t image0,
       std::int64_t images)
      : conv_(conv),
        g_(conv.g_),
        s_(shared),
        finisher_(*shared.epilogue, shared.result, part, conv.g_.out, conv.line_ != Line::images),
        image0_(image0),
        images_(images),
        decoded_(reinterpret_cast<std::int8_t*>(shared.parts + part * conv.part_bytes())) {
    static constexpr std::int64_t kNoOffset = 0;
    t_.x_at = conv.line_ == Line::patches ? &kNoOffset : conv.taps_.data();
    t_.pieces = conv.line_ == Line::patches ? 1 : static_cast<std::int64_t>(conv.taps_.size());
    t_.quads = conv.line_ == Line::patches ? conv.view_.cols / kQuad : conv.piece_quads_;
    t_.x_rs = conv.line_ == Line::patches ? conv.patch_bytes() : conv.x_rs_;
    t_.x_step = conv.line_ == Line::images ? 1 : 0;
    t_.y_rs = conv.line_ == Line::images ? conv.out_blocks_ * pixels() * kLanes : kLanes;
    t_.y_vs = pixels() * kLanes;
  }

  static std::int64_t lines(const Int8Conv& conv, std::int64_t images) {
    const ConvGeometry& g = conv.g_;
    return conv.line_ == Line::pixels   ? images * g.oh * ceil_div(g.ow, conv.chunk_)
           : conv.line_ == Line::images ? g.oh * g.ow
                                        : images;
  }

  // Asks for what comes next evenly over `tiles` tiles.
  void ask_ahead(const std::byte* begin, const std::byte* end, std::int64_t tiles) {
    next_ = begin;
    next_end_ = end;
    ahead_ = ceil_div(ceil_div(next_end_ - next_, kCacheLine), std::max<std::int64_t>(tiles, 1));
  }

  // Lines [begin, end) of the unit.
  void multiply(std::int64_t group, std::int64_t begin, std::int64_t end) {
    if (group != group_) decode(group);
    done_ = {};
    for (std::int64_t line = begin; line < end; ++line) {
      switch (conv_.line_) {
        case Line::pixels: {
          const std::int64_t chunks = ceil_div(g_.ow, conv_.chunk_);
          const std::int64_t col = line % chunks * conv_.chunk_, row = line / chunks % g_.oh;
          const std::int64_t image = line / (g_.oh * chunks);
          t_.x = s_.bytes + image * conv_.image_bytes() +
                 (row * g_.stride_h * conv_.width_ + col * g_.stride_w) * conv_.depth_;
          const std::int64_t count = std::min(conv_.chunk_, g_.ow - col);
          tiles(image, row * g_.ow + col, count);
          finish(image, row * g_.ow + col, count);
          break;
        }
        case Line::images:
          t_.x =
              s_.bytes + (line / g_.ow * g_.stride_h * conv_.width_ + line % g_.ow * g_.stride_w) *
                             conv_.unit_ * conv_.depth_;
          tiles(0, line, images_);
          break;
        case Line::patches:
          t_.x = s_.patches + line * pixels() * conv_.patch_bytes();
          tiles(line, 0, pixels());
          finish(line, 0, pixels());
          break;
      }
    }
    if (conv_.line_ == Line::images) {
      for (std::int64_t image = 0; image < images_; ++image) finish_now(image, begin, end);
    } else {
      flush();
    }
  }

 private:
  std::int64_t pixels() const { return g_.oh * g_.ow; }

  void decode(std::int64_t group) {
    const Int8Layout& l = conv_.layout_;
    group_ = group;
    v0_ = conv_.first_vector(group);
    v1_ = conv_.first_vector(group + 1);
    const auto* panels = reinterpret_cast<const std::uint8_t*>(s_.packed + l.steps_at);
    t_.meta = s_.packed + l.meta_at + v0_ * kInt8MetaBytes;
    t_.meta_vs = kInt8MetaBytes;
    t_.w_vs = l.steps * 512;
    t_.vectors = static_cast<std::int32_t>(v1_ - v0_);
    t_.w = panels + v0_ * l.panel_stride;
    if (l.form == 8) return;
    for (std::int64_t v = v0_; v < v1_; ++v) {
      const std::int64_t rows = conv_.view_.group_rows;
      const std::int64_t table = rows ? v * kLanes / rows : 0;
      conv_.weights_->expand[form_index(l.form)](
          {panels + v * l.panel_stride,
           reinterpret_cast<const std::int8_t*>(s_.packed) + 64 * table, l.steps,
           decoded_ + (v - v0_) * l.steps * 512, l.form});
    }
    t_.w = reinterpret_cast<const std::uint8_t*>(decoded_);
  }

  // `count` positions from t_.x on.
  void tiles(std::int64_t image, std::int64_t pixel, std::int64_t count) {
    float* y = s_.y + ((image * conv_.out_blocks_ + v0_) * pixels() + pixel) * kLanes;
    Int8ConvTile t = t_;
    t.finish = finisher_.of(image, v0_);
    for (std::int64_t r = 0; r < count; r += conv_.tile_rows_) {
      const std::int64_t n = std::min(conv_.tile_rows_, count - r);
      for (std::int64_t i = 0; i < ahead_ && next_ < next_end_; ++i, next_ += kCacheLine)
        __builtin_prefetch(next_, 0, 2);
      t.rows = static_cast<std::int32_t>(n);
      t.x = t_.x + r * t.x_rs;
      t.y = y + r * t.y_rs;
      t.x_scale = s_.scale + image + r * t.x_step;
      t.x_zero = s_.zero + image + r * t.x_step;
      conv_.kernels_->tile[n - 1][t.vectors - 1](t);
    }
  }

  // The epilogue of what has been multiplied, some rows of an image at a time.
  void finish(std::int64_t image, std::int64_t pixel, std::int64_t count) {
    if (done_.image != image) {
      flush();
      done_ = {image, pixel, pixel};
    }
    done_.end = pixel + count;
    if (done_.end - done_.begin >= kHotPixels) flush();
  }
  void flush() {
    if (done_.begin < done_.end) finish_now(done_.image, done_.begin, done_.end);
    done_.begin = done_.end;
  }
  void finish_now(std::int64_t image, std::int64_t begin, std::int64_t end) {
    finisher_.done(image0_, image, v0_, v1_, begin, end);
  }

  struct Done {
    std::int64_t image = -1, begin = 0, end = 0;  // pixels
  };

  const Int8Conv& conv_;
  const ConvGeometry& g_;
  const Shared& s_;
  Finisher finisher_;
  std::int64_t image0_, images_;
  std::int8_t* decoded_;
  const std::byte *next_ = nullptr, *next_end_ = nullptr;
  std::int64_t ahead_ = 0;  // cache lines asked for with each tile
  Int8ConvTile t_{};
  std::int64_t group_ = -1, v0_ = 0, v1_ = 0;
  Done done_;
};

void Int8Conv::run(const std::byte* x, const void* packed, std::byte* y,
                   const PixelEpilogue::Bound& epilogue, std::byte* scratch) const {
  if (g_.n * g_.out * g_.oh * g_.ow == 0) return;
  Shared s{};
  s.x = x;
  s.packed = static_cast<const char*>(packed);
  s.epilogue = &epilogue;
  s.bytes = reinterpret_cast<std::uint8_t*>(scratch);
  s.patches = s.bytes + unit_bytes();
  std::byte* rest = scratch + unit_bytes();
  if (line_ == Line::patches) rest += unit_ * g_.oh * g_.ow * patch_bytes();
  s.scale = reinterpret_cast<float*>(rest);
  s.zero = reinterpret_cast<std::int32_t*>(rest + up64(4 * unit_));
  s.ranges = reinterpret_cast<Int8Range*>(rest + 2 * up64(4 * unit_));
  s.parts =
      rest + 2 * up64(4 * unit_) + up64(threads_ * static_cast<std::int64_t>(sizeof(Int8Range)));
  const std::int64_t y_floats = out_blocks_ * g_.oh * g_.ow * kLanes;
  const std::int64_t x_bytes = form_ == ImageForm::bytes ? source_.image_bytes : 4 * image_floats();
  for (std::int64_t image0 = 0; image0 < g_.n; image0 += unit_) {
    const std::int64_t images = std::min(unit_, g_.n - image0);
    if (form_ == ImageForm::bytes)
      take(s, image0, images);
    else
      round(s, image0, images);
    // Tiles only read.
    if (direct())
      s.bytes = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(x)) + image0 * x_bytes;
    s.y = reinterpret_cast<float*>(y) + image0 * y_floats;
    std::optional<ByteResult::Run> result;
    PixelEpilogue::Bound to_floats = epilogue;
    if (result_) {
      result.emplace(*result_, *kernels_, s.parts + threads_ * part_bytes(), images);
      s.y = result->floats();
      to_floats = epilogue.into(s.y, image0);
      s.epilogue = &to_floats;
      s.result = &*result;
    }
    if (line_ == Line::patches) gather_patches(s, images);
    const std::int64_t lines = Part::lines(*this, images);
    // Even shares for the threads.
    const std::int64_t pieces = groups_ % threads_ == 0 || groups_ >= 4 * threads_
                                    ? 1
                                    : std::min<std::int64_t>(lines, 2 * threads_);
    const std::int64_t items = groups_ * pieces, parts = std::min<std::int64_t>(threads_, items);
    parallel_parts(parts, [&](std::int64_t part) {
      Part own(*this, s, part, image0, images);
      const std::int64_t next = std::min(unit_, g_.n - image0 - images) * x_bytes;
      const std::byte* from = x + (image0 + images) * x_bytes;
      own.ask_ahead(from + next * part / parts, from + next * (part + 1) / parts,
                    lines * ceil_div(positions(), tile_rows_) * groups_ / parts);
      for (std::int64_t i = items * part / parts; i < items * (part + 1) / parts; ++i) {
        const std::int64_t piece = i % pieces;
        own.multiply(i / pieces, lines * piece / pieces, lines * (piece + 1) / pieces);
      }
    });
    if (result) result->write(image0, y);
  }
}

}  // namespace tessera
