// Results of a layer as bytes (ops/layout/byte_images.h): floats of a few images at a time, whose
// range is taken while they are hot, then rounded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/conv/conv.h"
#include "ops/conv/int8_conv_kernels.h"
#include "ops/layout/byte_images.h"

namespace tessera {

// The range of both.
void join(Int8Range& range, const Int8Range& other);
// What a range is rounded with: as Int8Quantize says.
void settle(const Int8Range& range, float* scale, std::int32_t* zero);

class ByteResult {
 public:
  // `images` at a time, whose parts up to `threads` threads make.
  ByteResult(const ConvGeometry& geometry, std::int64_t images, int threads);
  std::int64_t scratch_bytes() const;

  // Some images.
  class Run {
   public:
    Run(const ByteResult& result, const Int8ConvKernels& kernels, std::byte* scratch,
        std::int64_t images);
    float* floats() const { return floats_; }  // of these images, blocked
    // Thread `part` is done with these blocks and pixels of an image.
    void see(std::int64_t part, std::int64_t image, std::int64_t block0, std::int64_t block1,
             std::int64_t pixel0, std::int64_t pixel1) const;
    // Where a kernel notes what it sees of an image itself (Int8Finish::seen).
    std::uint32_t* seen(std::int64_t part, std::int64_t image) const {
      return seen_ + (part * result_.images_ + image) * kSeen;
    }
    // When all are done: y holds images from 0 on.
    void write(std::int64_t image0, std::byte* y) const;

   private:
    const ByteResult& result_;
    const Int8ConvKernels& kernels_;
    float* floats_;
    Int8Range* ranges_;    // [part, image]
    std::uint32_t* seen_;  // the same
    std::int64_t images_;
  };

 private:
  static constexpr std::int64_t kSeen = 32;
  std::int64_t floats_bytes() const;
  std::int64_t ranges_bytes() const;

  std::int64_t blocks_, pixels_, images_;
  int threads_;
  ByteImages to_;
};

}  // namespace tessera
