#include "ops/layout/layout.h"

#include <algorithm>

#include "core/parallel.h"
#include "ops/layout/byte_images.h"

namespace tessera {

namespace {

constexpr std::int64_t kGrain = 16384;  // floats that are worth another thread
constexpr std::int64_t kTile = 256;     // pixels of one block that stay in the first-level cache

}  // namespace

std::string refuses_unblock(const KernelQuery& query) {
  return is_blocked(query.node.input(0).type()) ? "" : "the operand is not blocked";
}

KernelPlan prepare_unblock(const KernelQuery& query) {
  const Shape shape = query.node.input(0).shape();
  const std::int64_t n = shape[0].value(), c = shape[1].value();
  const std::int64_t pixels = shape[2].value() * shape[3].value();
  KernelPlan plan;
  plan.run = [=](const KernelArgs& args) {
    unblock_image(args.in(0).as<const float>(), n, c, pixels, args.out().as<float>());
  };
  return plan;
}

std::int64_t blocked_numel(const Shape& image) {
  return image[0].value() * channel_blocks(image) * kLayoutBlock * image[2].value() *
         image[3].value();
}

Encoding blocked_encoding(const Shape& image) {
  return Encoding::packed(kBlocked, blocked_numel(image) * 4, {});
}

std::string refuses_other_layouts(const KernelQuery& query) {
  for (const Value v : query.node.inputs()) {
    if (!v || v.type().encoding.is_dense() || is_blocked(v.type())) continue;
    return v.type().encoding.is_codebook() ? "an operand is codebook storage"
                                           : "an operand is in another layout";
  }
  return {};
}

TensorType in_layout(const InferArgs& args, const Shape& shape, DType dtype) {
  const std::string& layout = args.attrs.string("layout");
  if (layout.empty()) return {dtype, shape, {}};
  args.require((layout == kBlocked || layout == kByteImages) && dtype == DType::f32 &&
                   shape.rank() == 4 && !shape.is_symbolic(),
               "cannot be kept in layout '", layout, "' with shape ", shape);
  return {dtype, shape, layout == kBlocked ? blocked_encoding(shape) : byte_encoding(shape)};
}

OperandPack to_blocked(const TensorType& dense) {
  const Shape shape = dense.shape;
  const std::int64_t n = shape[0].value(), c = shape[1].value();
  const std::int64_t pixels = shape[2].value() * shape[3].value();
  return {blocked_encoding(shape), [=](const KernelArgs& args) {
            block_image(args.in(0).as<const float>(), n, c, pixels, args.out().as<float>());
          }};
}

std::optional<OperandPack> as_blocked(const TensorType& image) {
  if (is_blocked(image)) return std::nullopt;
  return to_blocked(image);
}

void block_image(const float* dense, std::int64_t n, std::int64_t c, std::int64_t pixels,
                 float* blocked) {
  const std::int64_t blocks = (c + kLayoutBlock - 1) / kLayoutBlock;
  const std::int64_t tiles = (pixels + kTile - 1) / kTile;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / (std::min(kTile, pixels) * 16 + 1));
  parallel_for(n * blocks * tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t first = item % tiles * kTile, block = item / tiles;
      const std::int64_t last = std::min(pixels, first + kTile);
      const std::int64_t channel = block % blocks * kLayoutBlock;
      const std::int64_t lanes = std::min(kLayoutBlock, c - channel);
      const float* from = dense + (block / blocks * c + channel) * pixels;
      float* to = blocked + block * pixels * kLayoutBlock;
      if (lanes == kLayoutBlock) {
        for (std::int64_t p = first; p < last; ++p) {
          for (std::int64_t l = 0; l < kLayoutBlock; ++l)
            to[p * kLayoutBlock + l] = from[l * pixels + p];
        }
      } else {
        for (std::int64_t p = first; p < last; ++p) {
          for (std::int64_t l = 0; l < kLayoutBlock; ++l)
            to[p * kLayoutBlock + l] = l < lanes ? from[l * pixels + p] : 0.0f;
        }
      }
    }
  });
}

void unblock_image(const float* blocked, std::int64_t n, std::int64_t c, std::int64_t pixels,
                   float* dense) {
  const std::int64_t blocks = (c + kLayoutBlock - 1) / kLayoutBlock;
  const std::int64_t tiles = (pixels + kTile - 1) / kTile;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / (std::min(kTile, pixels) * 16 + 1));
  parallel_for(n * blocks * tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t first = item % tiles * kTile, block = item / tiles;
      const std::int64_t last = std::min(pixels, first + kTile);
      const std::int64_t channel = block % blocks * kLayoutBlock;
      const std::int64_t lanes = std::min(kLayoutBlock, c - channel);
      const float* from = blocked + block * pixels * kLayoutBlock;
      float* to = dense + (block / blocks * c + channel) * pixels;
      for (std::int64_t l = 0; l < lanes; ++l) {
        for (std::int64_t p = first; p < last; ++p) to[l * pixels + p] = from[p * kLayoutBlock + l];
      }
    }
  });
}

}  // namespace tessera
