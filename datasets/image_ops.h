// What is done to pictures on their way to a network: where to crop, colours, and the step from
// bytes to normalized planes. Every function is torchvision's of the same name, on 8-bit RGB.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/rng.h"
#include "datasets/resize.h"
#include "datasets/rgb_image.h"

namespace tessera::datasets {

// Random changes of a training sample.
struct PhotoAugment {
  double min_area = 0.08, max_area = 1;                // of the crop, as a share of the picture
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;     // of the crop, width / height
  float flip = 0.5f;                                   // probability of a mirrored sample
  float brightness = 0, contrast = 0, saturation = 0;  // factors in [1 - v, 1 + v]; v in [0, 1]
  // Throws Error naming the field and what was expected.
  void validate() const;
};

// RandomResizedCrop.get_params (Szegedy et al., "Going deeper with convolutions", section 6): ten
// tries, then the largest central crop of an allowed ratio.
PixelRect random_crop(std::int64_t width, std::int64_t height, const PhotoAugment& augment,
                      Rng& rng);

// Resize(short_side), then CenterCrop(crop): the whole resize and its window. short_side 0 leaves
// the size. The window starts at round((size - crop) / 2), halves to even. Throws Error when the
// result is smaller than the crop.
Resize center_crop(std::int64_t width, std::int64_t height, std::int64_t short_side,
                   std::int64_t crop);

// One step of ColorJitter: a blend with black, with the mean grey of the picture, or with its grey
// version; factor 1 changes nothing. In place.
enum class Colour { brightness, contrast, saturation };
void adjust(RgbImage& image, Colour what, float factor);
// ColorJitter: the three, each by a random factor, in random order.
void color_jitter(RgbImage& image, const PhotoAugment& augment, Rng& rng);

enum class ChannelOrder { rgb, bgr };

// (pixel * range / 255 - mean) / std for each channel, in the order of the output. The defaults
// are what torchvision's ImageNet networks expect.
struct PixelFormat {
  std::array<double, 3> mean{0.485, 0.456, 0.406};
  std::array<double, 3> std{0.229, 0.224, 0.225};
  double range = 1;  // 1: pixels 0..1; 255: 0..255
  ChannelOrder order = ChannelOrder::rgb;
  // What Caffe's ImageNet networks expect: BGR, 0..255, minus the mean colour.
  static PixelFormat caffe() { return {{104, 117, 123}, {1, 1, 1}, 255, ChannelOrder::bgr}; }
};

// A PixelFormat as tables: the value of each byte, computed in double precision and rounded once.
class Planes {
 public:
  // Throws Error when a mean is not finite, or a std or the range not positive.
  explicit Planes(const PixelFormat& format);
  // out: three planes of height x width; mirrored: columns from right to left.
  void write(const RgbView& image, bool mirrored, std::span<float> out) const;

 private:
  std::array<std::array<float, 256>, 3> table_;
  std::array<int, 3> source_;  // channel of the picture
};

}  // namespace tessera::datasets
