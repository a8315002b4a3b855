// Direct convolution of blocked images with a codebook weight. A thread decodes the weights of as
// many output channels as stay in its second-level cache, once for all pixels and images, and
// multiplies in register tiles of pixels and output channels. What the rows of a tile are depends
// on the image: pixels of a line; of images with short lines, one pixel of many images; of few such
// images all pixels, whose patches are copied out first.
#include "ops/conv/block_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/parallel.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/node_view.h"
#include "ops/codebook/weight_panels.h"
#include "ops/conv/block_kernels.h"
#include "ops/conv/conv.h"
#include "ops/conv/image_epilogue.h"
#include "ops/layout/layout.h"

#if defined(__x86_64__)

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock;
constexpr std::int64_t kSetBytes = 768 << 10;   // of decoded weights of a thread
constexpr std::int64_t kMostDepth = 16 << 10;   // weights of an output channel
constexpr std::int64_t kCopyBytes = 256 << 10;  // of lines with their borders
constexpr std::int64_t kShortLine = 7, kManyImages = 8;
constexpr std::int64_t kLinePixels = 112;  // of a unit, where all pixels make one line
// Above this many pixels decoding all of the weights in every thread is the lesser evil.
constexpr std::int64_t kManyPixels = 512;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
constexpr std::int64_t up64(std::int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

enum class TileRows { pixels, images, patches };

// A pointwise convolution's pixels are one line.
ConvGeometry flattened(ConvGeometry g) {
  if (g.kh != 1 || g.kw != 1 || g.stride_h != 1 || g.stride_w != 1 ||
      g.top + g.left + g.bottom + g.right != 0)
    return g;
  g.w *= g.h;
  g.ow *= g.oh;
  g.h = g.oh = 1;
  return g;
}

struct BlockConv {
  ConvGeometry g;
  TileRows rows;
  WeightPanels panels;
  std::int64_t threads, in_blocks, out_blocks, depth;
  std::int64_t tile_rows, vectors, groups;  // of a register tile; groups of at most `vectors`
  std::int64_t set_groups;                  // decoded at once
  bool by_outputs;                          // what threads share out, or pixels
  std::int64_t band, chunk;                 // lines of a unit, pixels of a line
  std::int64_t width;                       // of a line with its borders; 0: no borders are read

  BlockConv(const ConvGeometry& geometry, const WeightPanels& weight, int threads_)
      : g(flattened(geometry)),
        panels(weight),
        threads(threads_),
        in_blocks(ceil_div(g.c, kLanes)),
        out_blocks(ceil_div(g.out, kLanes)),
        depth(in_blocks * kLanes * taps()) {
    rows = g.ow >= kShortLine                         ? TileRows::pixels
           : g.n >= kManyImages || g.n >= g.oh * g.ow ? TileRows::images
                                                      : TileRows::patches;
    const std::int64_t line = line_rows();
    const auto& table = tessera_block_avx512.tile;
    tile_rows = ceil_div(line, ceil_div(line, kBlockMaxRows));
    vectors = kBlockMaxVectors;
    while (!table[tile_rows - 1][vectors - 1]) --vectors;
    while (vectors > 1 && depth * vectors * kLanes * 4 > kSetBytes) --vectors;
    groups = ceil_div(out_blocks, vectors);
    const std::int64_t pixels = g.n * g.oh * g.ow;
    by_outputs = threads > 1 && out_blocks >= threads && pixels < kManyPixels;
    if (by_outputs) groups = std::min(out_blocks, ceil_div(groups, threads) * threads);
    vectors = ceil_div(out_blocks, groups);
    set_groups = std::clamp<std::int64_t>(kSetBytes / (depth * vectors * kLanes * 4), 1, groups);
    const std::int64_t needed = (g.ow - 1) * g.stride_w + (g.kw - 1) * g.dilation_w + 1;
    width = rows == TileRows::pixels && (g.left > 0 || needed - g.left > g.w) ? needed : 0;
    band = std::clamp<std::int64_t>(
        kCopyBytes / (in_blocks * std::max(width, g.w) * kLanes * 4 * g.stride_h), 1, g.oh);
    band = std::min(band, std::max<std::int64_t>(1, ceil_div(g.n * g.oh, 4 * threads)));
    chunk = width == 0 && g.oh == 1 ? ceil_div(kLinePixels, tile_rows) * tile_rows : g.ow;
  }

  std::int64_t taps() const { return g.kh * g.kw; }
  // Rows of tiles that may follow each other.
  std::int64_t line_rows() const {
    return rows == TileRows::pixels ? g.ow : rows == TileRows::images ? g.n : g.oh * g.ow;
  }
  std::int64_t first_vector(std::int64_t group) const { return out_blocks * group / groups; }

  // ---- memory ----
  std::int64_t patch_floats() const { return depth + kLanes; }  // of a pixel, off the power of two
  std::int64_t shared_floats() const {
    if (rows == TileRows::images) return g.n * in_blocks * g.h * g.w * kLanes;
    return rows == TileRows::patches ? g.n * g.oh * g.ow * patch_floats() : 0;
  }
  std::int64_t band_lines() const {
    return std::min(g.h, (band - 1) * g.stride_h + (g.kh - 1) * g.dilation_h + 1);
  }
  std::int64_t copy_floats() const { return in_blocks * band_lines() * width * kLanes; }
  std::int64_t panel_floats() const { return set_groups * depth * vectors * kLanes; }
  std::int64_t pieces() const { return in_blocks * taps(); }
  std::int64_t part_bytes() const {
    return 4 * (panel_floats() + copy_floats()) + up64(16 * pieces()) +
           static_cast<std::int64_t>(panels.thread_bytes());
  }
  std::int64_t table_bytes() const { return static_cast<std::int64_t>(panels.table_bytes()); }
  std::int64_t scratch_bytes() const {
    return up64(4 * shared_floats()) + table_bytes() + threads * part_bytes();
  }

  // ---- the run ----
  std::int64_t units() const {
    switch (rows) {
      case TileRows::images:
        return g.oh * g.ow;
      case TileRows::patches:
        return g.n;
      default:
        return g.n * ceil_div(g.oh, band) * ceil_div(g.ow, chunk);
    }
  }

  void run(const float* x, const CodebookView& view, const void* packed, float* y,
           std::byte* scratch) const {
    auto* shared = reinterpret_cast<float*>(scratch);
    std::byte* tables = scratch + up64(4 * shared_floats());
    const WeightPanels::Bound weight = panels.bind(view, packed, tables);
    if (rows == TileRows::images) gather_images(x, shared);
    if (rows == TileRows::patches) gather_patches(x, shared);
    const std::int64_t parts = std::min(threads, by_outputs ? groups : units());
    parallel_parts(parts, [&](std::int64_t part) {
      const auto share = [&](std::int64_t n) {
        return std::pair{n * part / parts, n * (part + 1) / parts};
      };
      const auto [group0, group1] =
          by_outputs ? share(groups) : std::pair<std::int64_t, std::int64_t>{0, groups};
      const auto [unit0, unit1] =
          by_outputs ? std::pair<std::int64_t, std::int64_t>{0, units()} : share(units());
      Part own{*this, weight, rows == TileRows::pixels ? x : shared, y,
               tables + table_bytes() + part * part_bytes()};
      for (std::int64_t set = group0; set < group1; set += set_groups) {
        own.decode(set, std::min(set + set_groups, group1));
        for (std::int64_t unit = unit0; unit < unit1; ++unit) own.multiply(unit);
      }
    });
  }

  // [blocks, pixels, n, 16]: a pixel's images side by side.
  void gather_images(const float* x, float* to) const {
    const std::int64_t pixels = g.h * g.w;
    parallel_for(in_blocks * pixels, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        for (std::int64_t n = 0; n < g.n; ++n)
          std::memcpy(to + (i * g.n + n) * kLanes, x + (n * in_blocks * pixels + i) * kLanes, 64);
      }
    });
  }
  // [n, output pixels, blocks, taps, 16]
  void gather_patches(const float* x, float* to) const {
    parallel_for(g.n * g.oh * g.ow, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t n = i / (g.oh * g.ow), oy = i / g.ow % g.oh, ox = i % g.ow;
        float* patch = to + i * patch_floats();
        for (std::int64_t t = 0; t < taps(); ++t) {
          const std::int64_t iy = oy * g.stride_h + t / g.kw * g.dilation_h - g.top;
          const std::int64_t ix = ox * g.stride_w + t % g.kw * g.dilation_w - g.left;
          const bool inside = iy >= 0 && iy < g.h && ix >= 0 && ix < g.w;
          for (std::int64_t b = 0; b < in_blocks; ++b) {
            float* lane = patch + (b * taps() + t) * kLanes;
            if (inside)
              std::memcpy(lane, x + (((n * in_blocks + b) * g.h + iy) * g.w + ix) * kLanes, 64);
            else
              std::memset(lane, 0, 64);
          }
        }
      }
    });
  }

  // What one thread works on.
  struct Part {
    const BlockConv& conv;
    const WeightPanels::Bound& weight;
    const float* x;  // the image, or what was gathered from it
    float* y;
    float *decoded, *copy;
    std::int64_t *a_at, *b_at;
    void* fill_scratch;
    std::int64_t group0 = 0, group1 = 0;

    Part(const BlockConv& c, const WeightPanels::Bound& w, const float* from, float* to,
         std::byte* scratch)
        : conv(c), weight(w), x(from), y(to), decoded(reinterpret_cast<float*>(scratch)) {
      copy = decoded + c.panel_floats();
      a_at = reinterpret_cast<std::int64_t*>(copy + c.copy_floats());
      b_at = a_at + c.pieces();
      fill_scratch = reinterpret_cast<std::byte*>(a_at) + up64(16 * c.pieces());
    }

    float* panel(std::int64_t group) const {
      return decoded + (group - group0) * conv.depth * conv.vectors * kLanes;
    }
    void decode(std::int64_t begin, std::int64_t end) {
      group0 = begin;
      group1 = end;
      const std::int64_t known = conv.g.c * conv.taps();
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t v0 = conv.first_vector(i), v1 = conv.first_vector(i + 1);
        const std::int64_t ks = (v1 - v0) * kLanes;
        weight.fill(v0 * kLanes, std::min(ks, conv.g.out - v0 * kLanes), 0, known, panel(i), ks,
                    kLanes, fill_scratch);
        std::fill(panel(i) + known * ks, panel(i) + conv.depth * ks, 0.0f);
      }
    }

    // Tiles over `count` positions of the line at `a`, whose results go to `c` of output block 0.
    void line(const float* a, std::int64_t a_rs, std::int64_t pieces, std::int64_t count, float* c,
              std::int64_t c_rs) {
      const std::int64_t c_vs = conv.g.oh * conv.g.ow * kLanes;
      for (std::int64_t i = group0; i < group1; ++i) {
        const std::int64_t v0 = conv.first_vector(i), nv = conv.first_vector(i + 1) - v0;
        for (std::int64_t r = 0; r < count; r += conv.tile_rows) {
          const std::int64_t n = std::min(conv.tile_rows, count - r);
          tessera_block_avx512.tile[n - 1][nv - 1]({a + r * a_rs, a_at, a_rs, panel(i), scaled(nv),
                                                    conv.taps() * nv * kLanes, pieces,
                                                    c + v0 * c_vs + r * c_rs, c_rs, c_vs, false});
        }
      }
    }
    // Pieces of b are numbered by rows of the panel, which are as long as its group is wide.
    const std::int64_t* scaled(std::int64_t nv) {
      if (nv != at_vectors) {
        for (std::int64_t p = 0; p < at_pieces; ++p) b_at[p] = b_at[p] / at_vectors * nv;
        at_vectors = nv;
      }
      return b_at;
    }
    std::int64_t at_vectors = 1, at_pieces = 0;

    void begin_pieces() {
      at_vectors = 1;
      at_pieces = 0;
    }
    void add_piece(std::int64_t block, std::int64_t tap, std::int64_t a) {
      a_at[at_pieces] = a;
      b_at[at_pieces++] = (block * kLanes * conv.taps() + tap) * kLanes;
    }

    void multiply(std::int64_t unit) {
      switch (conv.rows) {
        case TileRows::images:
          return multiply_images(unit);
        case TileRows::patches:
          return multiply_patches(unit);
        default:
          return multiply_pixels(unit);
      }
    }

    void multiply_images(std::int64_t pixel) {
      const ConvGeometry& g = conv.g;
      const std::int64_t oy = pixel / g.ow, ox = pixel % g.ow;
      begin_pieces();
      for (std::int64_t b = 0; b < conv.in_blocks; ++b) {
        for (std::int64_t t = 0; t < conv.taps(); ++t) {
          const std::int64_t iy = oy * g.stride_h + t / g.kw * g.dilation_h - g.top;
          const std::int64_t ix = ox * g.stride_w + t % g.kw * g.dilation_w - g.left;
          if (iy >= 0 && iy < g.h && ix >= 0 && ix < g.w)
            add_piece(b, t, ((b * g.h + iy) * g.w + ix) * g.n * kLanes);
        }
      }
      line(x, kLanes, at_pieces, g.n, y + pixel * kLanes, conv.out_blocks * g.oh * g.ow * kLanes);
    }

    void multiply_patches(std::int64_t image) {
      const std::int64_t pixels = conv.g.oh * conv.g.ow;
      begin_pieces();
      for (std::int64_t b = 0; b < conv.in_blocks; ++b) {
        for (std::int64_t t = 0; t < conv.taps(); ++t)
          add_piece(b, t, (b * conv.taps() + t) * kLanes);
      }
      line(x + image * pixels * conv.patch_floats(), conv.patch_floats(), at_pieces, pixels,
           y + image * conv.out_blocks * pixels * kLanes, kLanes);
    }

    void multiply_pixels(std::int64_t unit) {
      const ConvGeometry& g = conv.g;
      const std::int64_t bands = ceil_div(g.oh, conv.band), chunks = ceil_div(g.ow, conv.chunk);
      const std::int64_t image = unit / (bands * chunks), first = unit / chunks % bands * conv.band;
      const std::int64_t col = unit % chunks * conv.chunk;
      const std::int64_t last = std::min(first + conv.band, g.oh);
      const float* from = x + image * conv.in_blocks * g.h * g.w * kLanes;
      // Lines [top, bottom) of x are read, with their borders or as they are.
      std::int64_t top = 0, bottom = g.h, width = g.w, left = g.left;
      if (conv.width > 0) {
        top = std::clamp<std::int64_t>(first * g.stride_h - g.top, 0, g.h);
        bottom =
            std::clamp((last - 1) * g.stride_h + (g.kh - 1) * g.dilation_h + 1 - g.top, top, g.h);
        width = conv.width;
        left = 0;
        copy_lines(from, top, bottom);
        from = copy;
      }
      for (std::int64_t oy = first; oy < last; ++oy) {
        begin_pieces();
        for (std::int64_t b = 0; b < conv.in_blocks; ++b) {
          for (std::int64_t p = 0; p < g.kh; ++p) {
            const std::int64_t iy = oy * g.stride_h + p * g.dilation_h - g.top;
            if (iy < 0 || iy >= g.h) continue;
            for (std::int64_t q = 0; q < g.kw; ++q) {
              const std::int64_t at =
                  (b * (bottom - top) + iy - top) * width + q * g.dilation_w - left;
              add_piece(b, p * g.kw + q, at * kLanes);
            }
          }
        }
        line(from + col * g.stride_w * kLanes, g.stride_w * kLanes, at_pieces,
             std::min(conv.chunk, g.ow - col),
             y + ((image * conv.out_blocks * g.oh + oy) * g.ow + col) * kLanes, kLanes);
      }
    }
    void copy_lines(const float* from, std::int64_t top, std::int64_t bottom) {
      const ConvGeometry& g = conv.g;
      const std::int64_t inside = std::clamp<std::int64_t>(conv.width - g.left, 0, g.w);
      const std::int64_t left = std::min(g.left, conv.width);
      for (std::int64_t b = 0; b < conv.in_blocks; ++b) {
        for (std::int64_t i = top; i < bottom; ++i) {
          float* to = copy + (b * (bottom - top) + i - top) * conv.width * kLanes;
          std::fill_n(to, left * kLanes, 0.0f);
          std::memcpy(to + left * kLanes, from + (b * g.h + i) * g.w * kLanes,
                      static_cast<std::size_t>(inside * kLanes) * sizeof(float));
          std::fill(to + (left + inside) * kLanes, to + conv.width * kLanes, 0.0f);
        }
      }
    }
  };
};

bool packs(const KernelQuery& query) {
  return query.is_fixed(1) && WeightPanels::packs(view_of(query.node.input(1)));
}

std::string refuses(const KernelQuery& query) {
  const Node& node = query.node;
  const TensorType& weight = node.input(1).type();
  if (weight.encoding.codebook_format() == nullptr) return "the weight is dense";
  if (!weight.encoding.packed_layout().empty()) return "the weight is packed";
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    if (i == 1 || !node.inputs()[i]) continue;
    const TensorType& type = node.inputs()[i].type();
    if (!type.encoding.is_dense() && !is_blocked(type)) return "an operand is in another layout";
  }
  const ConvGeometry g = conv_geometry(node);
  if (g.groups != 1) return "groups";
  if (g.c < kLanes || g.out < kLanes) return "fewer than 16 channels";
  if (g.patch() > kMostDepth) return "an output channel has many weights";
  return ImageEpilogue::refuses(node);
}

KernelPlan prepare(const KernelQuery& query) {
  struct State {
    BlockConv conv;
    CodebookView view;
    std::unique_ptr<ImageEpilogue> epilogue;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const Value x = query.node.input(0);
  const CodebookView view = view_of(query.node.input(1));
  const bool packed = packs(query);
  auto state = std::make_shared<State>(State{
      BlockConv(g, WeightPanels(view, packed, query.features), query.threads), view, nullptr});
  KernelPlan plan;
  plan.packs = {
      is_blocked(x.type()) ? std::nullopt : std::optional(to_blocked(x.type())),
      packed ? std::optional(pack_codebook(query.node.input(1), query.features)) : std::nullopt};
  plan.scratch_bytes = state->conv.scratch_bytes();
  plan.flops = g.flops();
  plan.note =
      cat("decodes ", state->conv.set_groups * state->conv.vectors * kLanes, " rows at a time");
  state->epilogue = std::make_unique<ImageEpilogue>(query.node, query.features, plan);
  plan.run = [state](const KernelArgs& args) {
    const bool packed = state->conv.panels.packed();
    state->conv.run(args.in(0).as<const float>(),
                    packed ? state->view : bind_view(state->view, args.in(1)),
                    packed ? args.in(1).plane[0] : nullptr, args.out().as<float>(), args.scratch);
    state->epilogue->run(args);
  };
  return plan;
}

constexpr KernelRow kRows[] = {{"conv2d_cb_blocks_avx512", kAvx2 | kAvx512, refuses, prepare}};

}  // namespace

std::span<const KernelRow> conv2d_block_rows() {
  return kRows;
}

}  // namespace tessera

#else

namespace tessera {

std::span<const KernelRow> conv2d_block_rows() {
  return {};
}

}  // namespace tessera

#endif
