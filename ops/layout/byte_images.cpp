#include "ops/layout/byte_images.h"

#include <cstring>

#include "core/parallel.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

constexpr std::int64_t kLine = 64, kGrain = 16384;

constexpr std::int64_t up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace

ImageForm image_form(const TensorType& type) {
  return is_bytes(type)     ? ImageForm::bytes
         : is_blocked(type) ? ImageForm::blocks
                            : ImageForm::planes;
}

ByteImages::ByteImages(const Shape& image)
    : depth(up(image[1].value(), 4)),
      image_bytes(depth * image[2].value() * image[3].value()),
      scale_at(up(image[0].value() * image_bytes + kLine, kLine)),
      zero_at(scale_at + up(4 * image[0].value(), kLine)),
      bytes(zero_at + up(4 * image[0].value(), kLine)) {}

Encoding byte_encoding(const Shape& image) {
  return Encoding::packed(kByteImages, ByteImages(image).bytes, {});
}

std::string refuses_floats(const KernelQuery& query) {
  return is_bytes(query.node.input(0).type()) ? "" : "the operand is not bytes";
}

KernelPlan prepare_floats(const KernelQuery& query) {
  const Shape shape = query.node.input(0).shape();
  const ByteImages at(shape);
  const std::int64_t n = shape[0].value(), c = shape[1].value();
  const std::int64_t pixels = shape[2].value() * shape[3].value();
  KernelPlan plan;
  plan.run = [=](const KernelArgs& args) {
    const std::byte* from = args.in(0).plane[0];
    auto* to = args.out().as<float>();
    parallel_for(n * c, 1 + kGrain / pixels, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        float scale;
        std::int32_t zero;
        std::memcpy(&scale, from + at.scale_at + 4 * (i / c), 4);
        std::memcpy(&zero, from + at.zero_at + 4 * (i / c), 4);
        const std::byte* q = from + i / c * at.image_bytes + i % c;
        for (std::int64_t p = 0; p < pixels; ++p)
          to[i * pixels + p] =
              static_cast<float>(std::to_integer<int>(q[p * at.depth]) - zero) * scale;
      }
    });
  };
  return plan;
}

}  // namespace tessera
