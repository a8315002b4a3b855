// Resizing of RGB pictures with the triangle filter ("bilinear"), whose width grows with the
// reduction, so that small results do not alias. Support, centres and the order of the two passes
// are those of Pillow's Image.resize(size, BILINEAR) (Resample.c), which torchvision's transforms
// call; weights have 15 bits or more, and few values differ from Pillow's, by one.
#pragma once

#include <cstdint>
#include <vector>

#include "datasets/resize_kernels.h"
#include "datasets/rgb_image.h"

namespace tessera::datasets {

// A whole picture of from_width x from_height pixels becomes to_width x to_height, of which only
// `window` is wanted.
struct Resize {
  std::int64_t from_width, from_height, to_width, to_height;
  PixelRect window;

  // The pixels of the whole picture that the window depends on.
  PixelRect source() const;
};

// One per thread: keeps its buffers.
class Resizer {
 public:
  explicit Resizer(const ResizeKernels& kernels = best());
  // The kernels for this processor (and TESSERA_ISA).
  static const ResizeKernels& best();

  // `source` holds the pixels of how.source(). Throws Error when it has another size, or when the
  // window leaves the result.
  void run(const Resize& how, const RgbView& source, RgbImage& out);

 private:
  // What the pixels of the window take from the source along one axis.
  struct Axis {
    std::vector<std::int32_t> first;    // counted from the start of the source
    std::vector<std::int32_t> count;    // real weights; the rest are zeros
    std::vector<std::int16_t> weights;  // [window, taps]
    int taps = 0, shift = 0;
    void build(std::int64_t from, std::int64_t to, std::int64_t begin, std::int64_t size);
    std::vector<double> exact;
  };

  const ResizeKernels& kernels_;
  Axis columns_, rows_;
  std::vector<std::uint8_t> row_, narrow_;
};

}  // namespace tessera::datasets
