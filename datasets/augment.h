// Random changes to training images that leave their class as it is.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/shape.h"

namespace tessera::datasets {

// What may happen to an image, in this order. The steps act on normalized values, where 0 is the
// mean colour; {.pad = 4, .flip = 0.5} is the usual choice for CIFAR (He et al., "Deep Residual
// Learning", CVPR 2016, section 4.2).
struct Augment {
  enum class Border { zeros, reflect };

  // Crop: surrounds the image by this many pixels on each side and takes a window of the old size
  // at a random place of it. `border` fills the rim: with 0, or with the image mirrored at its
  // outermost pixels (which are not repeated).
  std::int64_t pad = 0;
  Border border = Border::zeros;
  // Probability of mirroring left and right.
  double flip = 0;
  // Sets a square of this side to 0. Its centre is a random pixel, so parts may fall outside
  // (DeVries and Taylor, arXiv:1708.04552; 16 for CIFAR-10, 8 for CIFAR-100).
  std::int64_t cutout = 0;

  bool any() const { return pad > 0 || flip > 0 || cutout > 0; }
  // "crop 4, flip 0.5, cutout 8"; "none". For logs and the settings of a run.
  std::string text() const;
  friend bool operator==(const Augment&, const Augment&) = default;
};

// What happens to one image.
struct Augmentation {
  std::int64_t dy = 0, dx = 0;  // out(y, x) = in(y + dy, x + dx), before the flip
  bool flip = false;
  std::int64_t cut_y = 0, cut_x = 0;  // centre of the square
};

// A step of training sees every image through this.
class Augmenter {
 public:
  // For images of `shape` [h, w] or [c, h, w]. Throws Error when an option is out of range: pad in
  // [0, min(h, w)), flip in [0, 1], cutout in [0, min(h, w)].
  Augmenter(const Augment& options, const Shape& shape, std::uint64_t seed);

  const Augment& options() const { return options_; }
  // A function of (seed, epoch, index) alone, where index is the image's place in its set.
  Augmentation draw(std::int64_t epoch, std::int64_t index) const;
  // out = in under `a`; both hold one image and do not overlap.
  void apply(const Augmentation& a, const float* in, float* out) const;
  // Augments images, rows.size() normalized ones, in place; rows are their places in the set.
  // Threaded; bits do not depend on the thread count.
  void operator()(std::int64_t epoch, std::span<const std::int32_t> rows,
                  std::span<float> images) const;

 private:
  Augment options_;
  std::int64_t channels_ = 1, height_ = 0, width_ = 0;
  std::uint64_t seed_ = 0;
};

}  // namespace tessera::datasets
