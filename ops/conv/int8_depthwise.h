// Depthwise convolution in integers, of images that are bytes already: four rows of taps of a
// channel are a quad, so that a dot product of sixteen channels sums them all. Rounding is that of
// ops/conv/int8_conv.h, the bits the same on every instruction set, for any threads and batch.
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
#include "ops/conv/int8_finish.h"
#include "ops/conv/pixel_epilogue.h"
#include "ops/layout/byte_images.h"

namespace tessera {

// "" or why not: what has kernels is up to eight rows and kInt8DepthwiseTaps columns of taps next
// to each other, steps of 1 or 2.
const char* int8_depthwise_refuses(const ConvGeometry& g);

// The columns of a weight in the order in which a kernel reads them: columns of taps, then rows up
// to a multiple of 4 (-1 where there is none).
std::vector<std::int32_t> int8_depthwise_order(const ConvGeometry& g);

class Int8Depthwise {
 public:
  // int8_fits(arranged(weight, order)); `to_bytes`: y is bytes, too.
  Int8Depthwise(const ConvGeometry& geometry, const CodebookView& weight, bool to_bytes,
                CpuFeatures features, int threads);

  std::int64_t scratch_bytes() const;
  // y, blocked or bytes, = the epilogue of conv(x, w), w as pack_int8 arranged it.
  void run(const std::byte* x, const void* packed, std::byte* y,
           const PixelEpilogue::Bound& epilogue, std::byte* scratch) const;

 private:
  struct Shared;
  void decode(const Shared& s) const;
  void rows(const Shared& s, const Finisher& finisher, std::int64_t image, std::int64_t block,
            std::int64_t begin, std::int64_t end) const;

  ConvGeometry g_;
  CodebookView view_;  // of the arranged weight
  Int8Layout layout_;
  const Int8Kernels* weights_;
  const Int8ConvKernels* kernels_;
  ByteImages source_;
  int threads_;
  std::int64_t blocks_, quads_;       // of channels; of rows of taps
  std::int64_t height_;               // rows of y at a time
  std::optional<ByteResult> result_;  // none where y is floats
};

}  // namespace tessera
