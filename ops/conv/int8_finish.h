// What a layer in integers does with its sums besides scaling them: a program that a kernel
// computes itself (PixelEpilogue::Affine), and the range of results that become bytes.
#pragma once

#include <array>
#include <optional>

#include "ops/conv/byte_result.h"
#include "ops/conv/int8_conv_kernels.h"
#include "ops/conv/pixel_epilogue.h"
#include "ops/layout/layout.h"

namespace tessera {

class Finisher {
 public:
  // `one_image`: the rows of a kernel's call are of one image, so that it can take their range.
  // Lanes behind the last channel hold what becomes of 0.
  Finisher(const PixelEpilogue::Bound& epilogue, const ByteResult::Run* result, std::int64_t part,
           std::int64_t channels, bool one_image)
      : epilogue_(epilogue),
        result_(result),
        part_(part),
        affine_(epilogue.program().affine()),
        sees_(affine_ && result && one_image &&
              (channels % kLayoutBlock == 0 || (affine_->low <= 0 && affine_->high >= 0))) {}

  // For a kernel's call that starts with this block, of an image of those at hand.
  Int8Finish of(std::int64_t image, std::int64_t block) const {
    static constexpr auto kNothing = [] {
      std::array<std::array<float, kLayoutBlock>, 2> out{};
      out[0].fill(1.0f);
      out[1].fill(-0.0f);
      return out;
    }();
    if (!affine_) return {};
    const auto mul = epilogue_.channels(affine_->mul, block, kNothing[0].data());
    const auto add = epilogue_.channels(affine_->add, block, kNothing[1].data());
    return {mul.values,
            add.values,
            mul.step,
            add.step,
            affine_->low,
            affine_->high,
            sees_ ? result_->seen(part_, image) : nullptr};
  }

  // These blocks and pixels of image `image` of those at hand, the first of which is `image0`, have
  // been computed.
  void done(std::int64_t image0, std::int64_t image, std::int64_t block0, std::int64_t block1,
            std::int64_t pixel0, std::int64_t pixel1) const {
    if (affine_)
      epilogue_.clear_tail(image0 + image, block1, pixel0, pixel1);
    else
      epilogue_.run(image0 + image, block0, block1, pixel0, pixel1);
    if (result_ && !sees_) result_->see(part_, image, block0, block1, pixel0, pixel1);
  }

 private:
  const PixelEpilogue::Bound& epilogue_;
  const ByteResult::Run* result_;
  std::int64_t part_;
  const std::optional<PixelEpilogue::Affine>& affine_;
  bool sees_;
};

}  // namespace tessera
