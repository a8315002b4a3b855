// Cases of convolutions in integers, and what they give by definition, in plain loops.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/cpu.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/int8_pack.h"
#include "ops/codebook/node_view.h"
#include "ops/conv/conv.h"
#include "ops/layout/byte_images.h"
#include "ops/layout/layout.h"
#include "tests/ops/op_harness.h"

namespace tessera::test::int8 {

struct Geometry {
  Shape x, w;
  Ints stride = {1, 1}, padding = {0, 0, 0, 0}, dilation = {1, 1};
  std::int64_t groups = 1;
};

inline constexpr CodebookFormat kFormats[] = {
    {.bits = 1},
    {.bits = 2, .scale_block = CodebookFormat::kScalePerRow},
    {.bits = 3, .group_rows = 16},
    {.bits = 4},
    {.bits = 5, .entry_dtype = DType::bf16},
    {.bits = 6, .group_rows = 32},
    {.bits = 7, .group_rows = 3},
    {.bits = 8, .entry_dtype = DType::s8, .scale_block = CodebookFormat::kScalePerRow},
};

struct Level {
  CpuFeatures features;
  const char* row;
};
inline std::vector<Level> levels() {
  std::vector<Level> out;
  for (const Level& level :
       {Level{kScalar, "ref"}, Level{kAvx2, "avx2"}, Level{kAvx2 | kAvxVnni, "avxvnni"},
        Level{kAvx2 | kAvx512 | kVnni, "avx512vnni"},
        Level{kAvx2 | kAvx512 | kVnni | kVbmi, "avx512vnnivbmi"}}) {
    if (active_features().includes(level.features)) out.push_back(level);
  }
  return out;
}

inline test::Case case_of(const Geometry& geometry, const CodebookFormat& format, bool blocked,
                          std::uint64_t seed, double low = -1) {
  TensorType x{DType::f32, geometry.x, {}};
  if (blocked) x.encoding = blocked_encoding(x.shape);
  const Sample sample{{{x, low, 1.5}, {{DType::f32, geometry.w, Encoding::codebook(format)}}},
                      Attrs{{"stride", geometry.stride},
                            {"padding", geometry.padding},
                            {"dilation", geometry.dilation},
                            {"groups", geometry.groups}}};
  Rng rng(1, seed);
  return test::make_case(kConv2d, sample, rng);
}

// The weight of a case as kernels see it.
struct Weight {
  CodebookView view;
  std::vector<Int8Entries> groups;
  std::vector<std::uint8_t> index;
  explicit Weight(test::Case& c) {
    BufferRef planes;
    for (std::size_t p = 0; p < c.planes[1].size(); ++p) planes.plane[p] = c.planes[1][p].data();
    TensorType type = c.node->input(1).type();
    view = bind_view(view_of(type), planes);
    for (std::int64_t g = 0; g < codebook_groups(view); ++g)
      groups.push_back(round_entries(view, g));
    index.resize(static_cast<std::size_t>(view.rows * view.cols));
    unpack_indices(view.indices, 0, view.rows * view.cols, view.bits, index.data());
  }
  const Int8Entries& entries(std::int64_t row) const {
    return groups[static_cast<std::size_t>(codebook_group(view, row))];
  }
  std::int64_t at(std::int64_t row, std::int64_t col) const {
    return entries(row).values[index[static_cast<std::size_t>(row * view.cols + col)]];
  }
  float scale(std::int64_t row) const {
    return view.block ? entries(row).scale * view.scale[row] : entries(row).scale;
  }
};

struct Bytes {
  std::vector<std::int64_t> less_zero;
  float scale;
  std::int64_t zero = 0;
};
// An image as bytes less their zero point.
inline Bytes bytes_of(const double* x, std::int64_t count) {
  float low = 0, high = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    low = std::min(low, static_cast<float>(x[i]));
    high = std::max(high, static_cast<float>(x[i]));
  }
  Bytes out{{}, high / 255.0f - low / 255.0f};
  const float inverse = out.scale > 0 ? 1.0f / out.scale : 0.0f;
  const std::int64_t zero = std::min(255L, std::lrint(-low * inverse));
  out.zero = zero;
  for (std::int64_t i = 0; i < count; ++i)
    out.less_zero.push_back(
        std::clamp(std::lrint(static_cast<float>(x[i]) * inverse) + zero, 0L, 255L) - zero);
  return out;
}

// Images [n, c, pixels] as bytes.
inline void write_bytes(const double* x, const Shape& shape, std::byte* to) {
  const ByteImages at(shape);
  const std::int64_t c = shape[1].value(), pixels = shape[2].value() * shape[3].value();
  for (std::int64_t n = 0; n < shape[0].value(); ++n) {
    const Bytes image = bytes_of(x + n * c * pixels, c * pixels);
    std::byte* q = to + n * at.image_bytes;
    for (std::int64_t i = 0; i < pixels; ++i) {
      for (std::int64_t d = 0; d < at.depth; ++d) {
        const std::int64_t less =
            d < c ? image.less_zero[static_cast<std::size_t>(d * pixels + i)] : 0;
        q[i * at.depth + d] = static_cast<std::byte>(less + image.zero);
      }
    }
    const auto zero = static_cast<std::int32_t>(image.zero);
    std::memcpy(to + at.scale_at + 4 * n, &image.scale, 4);
    std::memcpy(to + at.zero_at + 4 * n, &zero, 4);
  }
}
// The definition: bytes, integer sums, two roundings.
inline std::vector<float> expected(test::Case& c) {
  const ConvGeometry g = conv_geometry(*c.node);
  const Weight w(c);
  std::vector<float> y;
  for (std::int64_t n = 0; n < g.n; ++n) {
    const std::int64_t size = g.c * g.h * g.w;
    const Bytes x = bytes_of(c.inputs[0].v.data() + n * size, size);
    for (std::int64_t o = 0; o < g.out; ++o) {
      const float factor = w.scale(o) * x.scale;
      for (std::int64_t pixel = 0; pixel < g.oh * g.ow; ++pixel) {
        std::int64_t sum = 0;
        for (std::int64_t k = 0; k < g.patch(); ++k) {
          const std::int64_t p = k / g.kw % g.kh, q = k % g.kw;
          const std::int64_t channel =
              o / g.group_outputs() * g.group_channels() + k / (g.kh * g.kw);
          const std::int64_t iy = pixel / g.ow * g.stride_h + p * g.dilation_h - g.top;
          const std::int64_t ix = pixel % g.ow * g.stride_w + q * g.dilation_w - g.left;
          if (iy < 0 || iy >= g.h || ix < 0 || ix >= g.w) continue;
          sum +=
              x.less_zero[static_cast<std::size_t>((channel * g.h + iy) * g.w + ix)] * w.at(o, k);
        }
        y.push_back(static_cast<float>(sum) * factor);
      }
    }
  }
  return y;
}

// Memory of so many bytes that ends where no page is.
class Guarded {
 public:
  explicit Guarded(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes)) {
    constexpr std::size_t kPage = 4096;
    pages_ = (bytes_ + kPage - 1) / kPage * kPage;
    base_ = static_cast<char*>(
        mmap(nullptr, pages_ + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || mprotect(base_ + pages_, kPage, PROT_NONE) != 0)
      throw std::runtime_error("no memory");
    std::memset(base_, 0x7f, pages_);
  }
  ~Guarded() { munmap(base_, pages_ + 4096); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(base_ + pages_ - bytes_);
  }

 private:
  std::size_t bytes_, pages_;
  char* base_;
};

}  // namespace tessera::test::int8
