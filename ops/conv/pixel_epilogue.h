// The program that a convolution carries, run over parts of its blocked result while they are hot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/op_def.h"
#include "core/program.h"
#include "ops/elementwise/program_runner.h"

namespace tessera {

class PixelEpilogue {
 public:
  // "" or why the node's epilogue operands are neither images, channels nor scalars.
  static std::string refuses(const Node& node);
  // Adds the operands' repacks and the layout to the plan, whose packs are those of x and the
  // weight.
  PixelEpilogue(const Node& node, CpuFeatures features, KernelPlan& plan);

  std::int64_t scratch_bytes() const;

  // A program that a kernel may compute itself: min(max(x * mul + add, low), high), the product not
  // rounded, mul and add values a channel (-1: 1 and -0, which change nothing).
  struct Affine {
    int mul = -1, add = -1;  // operands
    float low = -std::numeric_limits<float>::infinity(), high = -low;
  };
  const std::optional<Affine>& affine() const { return affine_; }

  // Of one run.
  class Bound {
   public:
    // Output 0 holds the convolution's result for blocks [block0, block1) and pixels
    // [pixel0, pixel1) of an image; lanes behind the last channel become zeros.
    void run(std::int64_t image, std::int64_t block0, std::int64_t block1, std::int64_t pixel0,
             std::int64_t pixel1) const;

    // What is left where the kernel has computed the program.
    void clear_tail(std::int64_t image, std::int64_t block1, std::int64_t pixel0,
                    std::int64_t pixel1) const;
    // The 16 values of operand i for a block, and from one block to the next; of operand -1
    // `otherwise` for all.
    struct Channels {
      const float* values;
      std::int64_t step;
    };
    Channels channels(int i, std::int64_t block, const float* otherwise) const {
      if (i < 0) return {otherwise, 0};
      const auto at = static_cast<std::size_t>(i);
      return {in[at] + block * epilogue->operands_[at].block, epilogue->operands_[at].block};
    }
    const PixelEpilogue& program() const { return *epilogue; }

    // The same with output 0 at y, which holds images from `image0` on.
    Bound into(float* y, std::int64_t image0) const {
      Bound other = *this;
      other.in[0] = other.out[0] = y;
      other.first_image = image0;
      return other;
    }

   private:
    friend class PixelEpilogue;
    const PixelEpilogue* epilogue;
    std::int64_t first_image = 0;  // of the outputs
    const float* in[kMaxProgramOperands];
    float* out[kMaxProgramOperands];
  };
  // Scratch must live as long as the run.
  Bound bind(const KernelArgs& args, std::byte* scratch) const;

 private:
  struct Operand {
    // Floats from one image, block and pixel to the next.
    std::int64_t image = 0, block = 0, pixel = 0;
    // One value a channel: copied to scratch, each block once for every pixel of a line.
    bool channels = false;
    std::int64_t copies = 1, at = 0;
  };
  static std::optional<Affine> affine_form(const Program& program,
                                           const std::vector<Operand>& operands);
  std::int64_t copy_floats() const { return blocks_ * kLine; }

  static constexpr std::int64_t kPixels = 16, kLine = kPixels * 16;  // of one line; its floats

  std::int64_t channels_, blocks_, pixels_;
  std::vector<Operand> operands_;  // of the program, the convolution's result first
  std::size_t results_ = 1;
  std::optional<Affine> affine_;
  std::int64_t scratch_floats_ = 0;
  std::unique_ptr<const ProgramRunner> runner_;  // none without an epilogue
};

}  // namespace tessera
