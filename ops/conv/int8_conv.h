// Convolution with a codebook weight in integers: every image is rounded to bytes with a scale and
// a zero point of its own, the entries of each codebook to signed bytes with a scale, as in
// ops/codebook/int8_matmul.h, where the bound on what rounding loses is; here the range is that of
// the image. Borders are zero points. Sums are exact, so that the bits depend neither on the
// instruction set nor on the threads nor on the other images of a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ops/codebook/int8_kernels.h"
#include "ops/codebook/int8_pack.h"
#include "ops/codebook/view.h"
#include "ops/conv/byte_result.h"
#include "ops/conv/conv.h"
#include "ops/conv/int8_conv_kernels.h"
#include "ops/conv/pixel_epilogue.h"
#include "ops/layout/byte_images.h"

namespace tessera {

const Int8ConvKernels& int8_conv_kernels(CpuFeatures features);

// The columns of a weight in the order in which a tile reads bytes: taps, then channels, up to a
// multiple of 4 (-1 where there is none).
std::vector<std::int32_t> int8_conv_order(const ConvGeometry& g);

class Int8Conv {
 public:
  // Of one group; int8_fits(arranged(weight, order)). x lies as `form` says; `to_bytes`: so does y.
  Int8Conv(const ConvGeometry& geometry, const CodebookView& weight, ImageForm form, bool to_bytes,
           CpuFeatures features, int threads);

  std::int64_t scratch_bytes() const;
  std::int64_t decoded_rows() const { return vectors_ * 16; }  // at a time

  // y, blocked or bytes, = the epilogue of conv(x, w), w as pack_int8 arranged it.
  void run(const std::byte* x, const void* packed, std::byte* y,
           const PixelEpilogue::Bound& epilogue, std::byte* scratch) const;

 private:
  // What the rows of a register tile are: a part of one of these.
  enum class Line {
    pixels,   // of a row of the image
    images,   // of one pixel
    patches,  // of an image
  };
  struct Shared {  // what all threads of a run read
    const std::byte* x;
    const char* packed;
    float* y;  // of the unit's first image
    const PixelEpilogue::Bound* epilogue;
    std::uint8_t *bytes, *patches;
    float* scale;
    std::int32_t* zero;
    Int8Range* ranges;  // of the parts of an image
    std::byte* parts;
    const ByteResult::Run* result = nullptr;
  };
  class Part;

  void choose_tile();
  void choose_unit();
  std::int64_t tile_cost(std::int64_t vectors, std::int64_t rows) const;
  std::int64_t first_vector(std::int64_t group) const { return out_blocks_ * group / groups_; }
  std::int64_t positions() const;  // of a line

  // Whether the bytes of x are taken as they lie.
  bool direct() const;
  std::int64_t image_bytes() const { return height_ * width_ * depth_; }
  std::int64_t image_floats() const;
  std::int64_t patch_bytes() const;
  std::int64_t part_bytes() const;
  std::int64_t unit_bytes() const;

  void round(const Shared& s, std::int64_t image0, std::int64_t images) const;
  void measure(const Shared& s, std::int64_t image0, std::int64_t image, int parts) const;
  struct Row {
    std::uint8_t* to;
    std::int64_t step, pixels, y;  // bytes from pixel to pixel; pixels, and their row of x
  };
  Row open_row(const Shared& s, std::int64_t image, std::int64_t row, bool borders) const;
  void round_row(const Shared& s, std::int64_t image0, std::int64_t image, std::int64_t row,
                 std::int64_t channel) const;
  void copy_row(const Shared& s, std::int64_t image0, std::int64_t image, std::int64_t row) const;
  void take(const Shared& s, std::int64_t image0, std::int64_t images) const;
  void gather_patches(const Shared& s, std::int64_t images) const;

  ConvGeometry g_;
  CodebookView view_;  // of the arranged weight
  Int8Layout layout_;
  const Int8Kernels* weights_;
  const Int8ConvKernels* kernels_;
  ImageForm form_;
  ByteImages source_;  // where bytes of x are
  int threads_;
  Line line_;
  std::int64_t out_blocks_;
  std::int64_t height_, width_, depth_;    // of an image of bytes with its borders
  std::int64_t vectors_ = 0, groups_ = 0;  // panels of a group, at most; groups
  std::int64_t tile_rows_ = 0;
  std::int64_t chunk_ = 0;          // positions of a line of pixels
  std::int64_t unit_ = 0;           // images whose bytes are kept
  std::vector<std::int64_t> taps_;  // where the pieces of a position are
  std::int64_t piece_quads_ = 0, x_rs_ = 0;
  std::optional<ByteResult> result_;  // none where y is floats
};

}  // namespace tessera
