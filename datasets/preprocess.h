// What is done to the pixels of an image before a network sees them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "datasets/dataset.h"

namespace tessera::datasets {

// Mean and standard deviation of x / 255 over each channel of a set, from sums of integers: the
// same bits for any thread count. Images [n, c, h, w] have c channels, [n, h, w] have one. Throws
// Error when the set is empty.
struct ChannelMoments {
  std::vector<float> mean, std;
};
ChannelMoments channel_moments(const Dataset& data);

// y[j] = x[j] * scale[j] - shift[j] for byte x[j] of an image; x in 0..255. The two vectors are all
// there is, so a model file can carry them. Rounds after the product and after the difference (no
// fused operation), hence the same bits on every processor.
class Preprocess {
 public:
  // x as it is, for models that carry their preprocessing.
  static Preprocess none(std::int64_t pixels);
  // x / 255.
  static Preprocess unit(std::int64_t pixels);
  // x / 255 minus the mean of each pixel over `train` (summed as integers, so exact): the choice of
  // Carreira-Perpinan and Idelbayev's LC experiments.
  static Preprocess minus_mean(const Dataset& train);
  // (x / 255 - mean) / std, one pair per channel for images of mean.size() channels of pixels /
  // mean.size() values each; MNIST's usual pair is 0.1307, 0.3081.
  static Preprocess standard(std::int64_t pixels, std::span<const float> mean,
                             std::span<const float> std);
  // The same with the moments of `train`: what convolutional networks of CIFAR and ImageNet use.
  static Preprocess standard(const Dataset& train);
  // From stored vectors, f32 [pixels] each. Throws Error when they are not that, or not finite.
  Preprocess(Tensor scale, Tensor shift);

  std::int64_t pixels() const { return scale_.numel(); }
  const Tensor& scale() const { return scale_; }  // f32 [pixels]
  const Tensor& shift() const { return shift_; }  // f32 [pixels]

  // out row i = image rows[i] of `images` (u8 [n, ...], pixels() values each); out is f32 of at
  // least rows.size() * pixels() values. Threaded; bits do not depend on the thread count. Throws
  // Error when sizes do not fit or a row is outside [0, n).
  void gather(const Tensor& images, std::span<const std::int32_t> rows, std::span<float> out) const;
  // All images in order: f32 [n, pixels].
  Tensor apply(const Tensor& images) const;

 private:
  Tensor scale_, shift_;
};

}  // namespace tessera::datasets
