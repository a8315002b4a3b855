// The layout in which images travel between layers that compute in integers: [n, h, w, c] bytes,
// channels up to a multiple of four, behind them a scale and a zero point for each image. A byte q
// stands for (q - zero) * scale; bytes behind the last channel are zero points. Who writes it
// rounds as Int8Quantize (ops/codebook/int8_kernels.h) says, by the range of the image, so that
// whoever reads bytes computes the bits that it would from the floats.
#pragma once

#include "core/op_def.h"

namespace tessera {

inline constexpr const char* kByteImages = "nhwc8";

inline bool is_bytes(const TensorType& type) {
  return type.encoding.packed_layout() == kByteImages;
}

// How an operand lies that may be an image in a layout.
enum class ImageForm : std::uint8_t { planes, blocks, bytes };
ImageForm image_form(const TensorType& type);

// Where things are, of images of bound shape [n, c, h, w].
struct ByteImages {
  explicit ByteImages(const Shape& image);
  std::int64_t depth, image_bytes;  // bytes of a pixel, of an image
  std::int64_t scale_at, zero_at;   // f32 [n], s32 [n]
  std::int64_t bytes;               // in all; 64 bytes may be read from any pixel on
};
Encoding byte_encoding(const Shape& image);

// Row of `decode`: bytes -> dense f32.
std::string refuses_floats(const KernelQuery& query);
KernelPlan prepare_floats(const KernelQuery& query);
inline constexpr KernelRow kFloatsRow = {"floats of bytes", kScalar, refuses_floats,
                                         prepare_floats};

}  // namespace tessera
