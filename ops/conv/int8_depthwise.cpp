#include "ops/conv/int8_depthwise.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/codebook/int8_matmul.h"
#include "ops/conv/int8_conv.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock, kQuad = 4;
constexpr std::int64_t kHotPixels = 128;     // of a block that the epilogue finds in cache
constexpr std::int64_t kThreadWork = 16384;  // values of y worth a thread
constexpr std::int64_t kStepBytes = 512;     // of a panel, looked up
constexpr std::int64_t kBorderBytes = 64;

int threads_of(const ConvGeometry& g, int threads) {
  return static_cast<int>(
      std::clamp<std::int64_t>(g.n * g.out * g.oh * g.ow / kThreadWork, 1, threads));
}

}  // namespace

const char* int8_depthwise_refuses(const ConvGeometry& g) {
  if (!g.depthwise()) return "not depthwise";
  if (g.dilation_h != 1 || g.dilation_w != 1) return "dilation";
  if (g.stride_w > kInt8DepthwiseSteps) return "steps of more than two pixels";
  if (g.kh > kInt8DepthwiseRows || g.kw > kInt8DepthwiseTaps) return "many taps";
  return "";
}

std::vector<std::int32_t> int8_depthwise_order(const ConvGeometry& g) {
  std::vector<std::int32_t> out;
  for (std::int64_t rows = 0; rows < g.kh; rows += kQuad) {
    for (std::int64_t q = 0; q < g.kw; ++q) {
      for (std::int64_t p = rows; p < rows + kQuad; ++p)
        out.push_back(p < g.kh ? static_cast<std::int32_t>(p * g.kw + q) : -1);
    }
  }
  return out;
}

Int8Depthwise::Int8Depthwise(const ConvGeometry& geometry, const CodebookView& weight,
                             bool to_bytes, CpuFeatures features, int threads)
    : g_(geometry),
      view_(arranged(weight, g_.kw * ceil_div(g_.kh, kQuad) * kQuad)),
      layout_(layout_of_int8(view_)),
      weights_(&int8_kernels(features)),
      kernels_(&int8_conv_kernels(features)),
      source_({g_.n, g_.c, g_.h, g_.w}),
      threads_(threads_of(g_, threads)),
      blocks_(ceil_div(g_.c, kLanes)),
      quads_(ceil_div(g_.kh, kQuad)),
      height_(std::clamp<std::int64_t>(kHotPixels / std::max<std::int64_t>(g_.ow, 1), 1, g_.oh)) {
  TESSERA_ASSERT(int8_fits(view_));
  if (to_bytes) result_.emplace(g_, 1, threads_);
}

struct Int8Depthwise::Shared {
  const std::byte* x;
  const char* packed;
  const std::uint8_t* w;  // looked up
  std::int64_t w_bytes;   // of a panel
  std::int8_t* decoded;
  std::uint8_t* border;  // zero points
  float* y;              // of the image
};

std::int64_t Int8Depthwise::scratch_bytes() const {
  return (layout_.form == 8 ? 0 : blocks_ * layout_.steps * kStepBytes) + kBorderBytes +
         (result_ ? result_->scratch_bytes() : 0);
}

void Int8Depthwise::decode(const Shared& s) const {
  const auto* panels = reinterpret_cast<const std::uint8_t*>(s.packed + layout_.steps_at);
  for (std::int64_t b = 0; b < blocks_; ++b) {
    const std::int64_t table = view_.group_rows ? b * kLanes / view_.group_rows : 0;
    weights_->expand[form_index(layout_.form)](
        {panels + b * layout_.panel_stride,
         reinterpret_cast<const std::int8_t*>(s.packed) + 64 * table, layout_.steps,
         s.decoded + b * layout_.steps * kStepBytes, layout_.form});
  }
}

// Rows [begin, end) of a block of an image.
void Int8Depthwise::rows(const Shared& s, const Finisher& finisher, std::int64_t image,
                         std::int64_t block, std::int64_t begin, std::int64_t end) const {
  Int8DepthwiseLine line{};
  line.finish = finisher.of(0, block);
  std::memcpy(&line.x_scale, s.x + source_.scale_at + 4 * image, 4);
  std::memcpy(&line.x_zero, s.x + source_.zero_at + 4 * image, 4);
  line.border = s.border;
  line.step = source_.depth;
  line.quads = quads_;
  line.first = -g_.left;
  line.width = g_.w;
  line.outputs = g_.ow;
  line.w = s.w + block * s.w_bytes;
  line.meta = s.packed + layout_.meta_at + block * kInt8MetaBytes;
  const auto* x =
      reinterpret_cast<const std::uint8_t*>(s.x) + image * source_.image_bytes + block * kLanes;
  const auto kernel = kernels_->depthwise[g_.kw - 1][g_.stride_w - 1];
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t p = 0; p < quads_ * kQuad; ++p) {
      const std::int64_t iy = row * g_.stride_h + p - g_.top;
      line.rows[p] = p < g_.kh && iy >= 0 && iy < g_.h ? x + iy * g_.w * source_.depth : nullptr;
    }
    line.y = s.y + (block * g_.oh + row) * g_.ow * kLanes;
    kernel(line);
  }
}

void Int8Depthwise::run(const std::byte* x, const void* packed, std::byte* y,
                        const PixelEpilogue::Bound& epilogue, std::byte* scratch) const {
  Shared s{};
  s.x = x;
  s.packed = static_cast<const char*>(packed);
  s.decoded = reinterpret_cast<std::int8_t*>(scratch);
  if (layout_.form != 8) {
    decode(s);
    s.w = reinterpret_cast<const std::uint8_t*>(s.decoded);
    s.w_bytes = layout_.steps * kStepBytes;
    scratch += blocks_ * s.w_bytes;
  } else {
    s.w = reinterpret_cast<const std::uint8_t*>(s.packed + layout_.steps_at);
    s.w_bytes = layout_.panel_stride;
  }
  s.border = reinterpret_cast<std::uint8_t*>(scratch);
  scratch += kBorderBytes;
  const std::int64_t chunks = ceil_div(g_.oh, height_), items = chunks * blocks_;
  const std::int64_t parts = std::min<std::int64_t>(threads_, items);
  for (std::int64_t image = 0; image < g_.n; ++image) {
    std::int32_t zero;
    std::memcpy(&zero, x + source_.zero_at + 4 * image, 4);
    std::memset(s.border, zero, kBorderBytes);
    s.y = reinterpret_cast<float*>(y) + image * blocks_ * g_.oh * g_.ow * kLanes;
    PixelEpilogue::Bound bound = epilogue;
    std::optional<ByteResult::Run> result;
    if (result_) {
      result.emplace(*result_, *kernels_, scratch, 1);
      s.y = result->floats();
      bound = epilogue.into(s.y, image);
    }
    // Blocks inside, so that rows of x stay in the first-level cache.
    parallel_parts(parts, [&](std::int64_t part) {
      const Finisher finisher(bound, result ? &*result : nullptr, part, g_.out, true);
      for (std::int64_t i = items * part / parts; i < items * (part + 1) / parts; ++i) {
        const std::int64_t block = i % blocks_, begin = i / blocks_ * height_;
        const std::int64_t end = std::min(begin + height_, g_.oh);
        rows(s, finisher, image, block, begin, end);
        finisher.done(image, 0, block, block + 1, begin * g_.ow, end * g_.ow);
      }
    });
    if (result) result->write(image, y);
  }
}

}  // namespace tessera
