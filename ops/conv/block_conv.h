// Direct convolution of blocked images with a codebook weight: what a plan of it decides, and its
// run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/codebook/weight_panels.h"
#include "ops/conv/conv.h"

namespace tessera {

class BlockConv {
 public:
  // Of one group, kh * kw at most kMostTaps. Features are those of AVX-512.
  BlockConv(const ConvGeometry& geometry, const WeightPanels& weight, int threads);
  static constexpr std::int64_t kMostTaps = 64;

  std::int64_t scratch_bytes() const;
  std::int64_t decoded_rows() const { return vectors_ * 16; }  // at a time
  const WeightPanels& panels() const { return panels_; }

  // y = conv(x, w), both images blocked; w as WeightPanels::bind takes it.
  void run(const float* x, const CodebookView& view, const void* packed, float* y,
           std::byte* scratch) const;

 private:
  // What the rows of a register tile are: a part of one of these.
  enum class Line {
    pixels,   // of a row of the image
    images,   // of one pixel
    patches,  // of an image
  };
  class Part;

  void choose_tile();
  void choose_unit();
  std::int64_t taps() const { return g_.kh * g_.kw; }
  std::int64_t first_vector(std::int64_t group) const { return out_blocks_ * group / groups_; }
  // The pixel of x that a tap of a pixel of y reads, or -1.
  std::int64_t source(std::int64_t oy, std::int64_t ox, std::int64_t tap) const;

  std::int64_t patch_floats() const;   // of a pixel
  std::int64_t shared_floats() const;  // of what is gathered from x
  std::int64_t copy_floats() const;
  std::int64_t panel_floats() const;
  std::int64_t part_bytes() const;
  std::int64_t table_bytes() const { return static_cast<std::int64_t>(panels_.table_bytes()); }

  void gather_images(const float* x, float* to) const;
  void gather_patches(const float* x, float* to) const;

  ConvGeometry g_;
  WeightPanels panels_;
  Line line_;
  std::int64_t threads_, in_blocks_, out_blocks_;
  std::int64_t lines_ = 0;  // of y
  std::int64_t tile_rows_ = 0, vectors_ = 0,
               groups_ = 0;            // of a tile; groups of `vectors_` at most
  std::int64_t depth_ = 0;             // blocks of channels of a panel
  std::int64_t unit_ = 0, units_ = 0;  // lines that a panel is multiplied with
  std::int64_t chunk_ = 0;             // pixels of a line of pixels
  std::int64_t width_ = 0;             // of a row of x with its borders; 0: none are read
  std::vector<std::int32_t> order_;    // of a block's weights in a panel: by tap, then channel
};

}  // namespace tessera
