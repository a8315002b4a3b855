// The program of a convolution whose result lies in logical order.
#pragma once

#include <string>
#include <vector>

#include "core/program.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/program_runner.h"

namespace tessera {

// Rows are output channels, columns pixels of one image.
class PlaneEpilogue {
 public:
  PlaneEpilogue(const Node& node, const ConvGeometry& g, CpuFeatures features)
      : pixels_(g.oh * g.ow),
        channels_(g.out),
        runner_(parse_program(node.graph().ops(), node.attrs().string("epilogue")),
                kinds_of(node, g), features) {
    for (std::size_t i = 2; i < node.inputs().size(); ++i) {
      const auto s = broadcast_strides(node.inputs()[i].shape(), {g.n, g.out, g.oh, g.ow});
      image_strides_.push_back(s[0]);
      row_strides_.push_back(s[1]);
    }
  }

  // "" or why an operand is neither an image, a channel vector nor a scalar.
  static std::string refuses(const Node& node) {
    const ConvGeometry g = conv_geometry(node);
    for (std::size_t i = 2; i < node.inputs().size(); ++i) {
      const Shape& shape = node.inputs()[i].shape();
      const auto s = broadcast_strides(shape, {g.n, g.out, g.oh, g.ow});
      const bool line = s[3] == 0 || g.ow == 1, plane = s[2] == 0 || g.oh == 1;
      const bool full = (s[3] != 0 || g.ow == 1) && (s[2] == g.ow || g.oh == 1);
      if (!(line && plane) && !full) return "an epilogue operand varies over one side of the image";
    }
    return {};
  }

  struct Call {
    const PlaneEpilogue* epilogue;
    ProgramInput inputs[kMaxProgramOperands];
    ProgramOutput outputs[kMaxProgramOperands];
  };
  // For the channels [first, ...) of image n.
  Call bind(const KernelArgs& args, std::int64_t n, std::int64_t first) const {
    Call call{this, {}, {}};
    for (std::size_t i = 2; i < args.inputs.size(); ++i) {
      const float* data = args.inputs[i].as<float>() + n * image_strides_[i - 2];
      call.inputs[i - 1] = {data + first * row_strides_[i - 2], row_strides_[i - 2]};
    }
    for (std::size_t o = 0; o < args.outputs.size(); ++o) {
      call.outputs[o] = {args.outputs[o].as<float>() + (n * channels_ + first) * pixels_, pixels_};
    }
    return call;
  }
  static void run(void* context, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                  std::int64_t cols, float* tile, std::int64_t ld) {
    const Call& call = *static_cast<const Call*>(context);
    ProgramInput inputs[kMaxProgramOperands];
    std::copy(std::begin(call.inputs), std::end(call.inputs), inputs);
    inputs[0] = {tile, ld};
    call.epilogue->runner_.run_at(row0, col0, rows, cols, inputs, call.outputs, true);
  }

 private:
  static std::vector<OperandKind> kinds_of(const Node& node, const ConvGeometry& g) {
    std::vector<OperandKind> kinds = {OperandKind::full};
    for (std::size_t i = 2; i < node.inputs().size(); ++i) {
      const auto s = broadcast_strides(node.inputs()[i].shape(), {g.n, g.out, g.oh, g.ow});
      const bool wide = (s[3] != 0 || s[2] != 0) && g.oh * g.ow > 1, tall = s[1] != 0;
      kinds.push_back(wide && tall ? OperandKind::full
                      : wide       ? OperandKind::row
                      : tall       ? OperandKind::column
                                   : OperandKind::scalar);
    }
    return kinds;
  }

  std::int64_t pixels_, channels_;
  ProgramRunner runner_;
  std::vector<std::int64_t> image_strides_, row_strides_;
};

}  // namespace tessera
