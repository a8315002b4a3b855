// The program that a convolution carries, run over its blocked result.
#pragma once

#include <memory>

#include "core/op_def.h"
#include "ops/elementwise/program_loop.h"

namespace tessera {

class ImageEpilogue {
 public:
  // "" or why the node's epilogue operands do not fit blocked results.
  static std::string refuses(const Node& node);
  // Adds the operands' repacks, the layout and the scratch to the plan, whose packs are those of x
  // and the weight.
  ImageEpilogue(const Node& node, CpuFeatures features, KernelPlan& plan);
  // Output 0 holds the convolution's result.
  void run(const KernelArgs& args) const;

 private:
  std::unique_ptr<ProgramLoop> loop_;  // none without an epilogue
};

// Of a convolution's row: what `base` refuses, and an epilogue that does not fit blocked results.
template <std::string (*base)(const KernelQuery&)>
std::string refuses_image_conv(const KernelQuery& query) {
  if (auto reason = base(query); !reason.empty()) return reason;
  return ImageEpilogue::refuses(query.node);
}

}  // namespace tessera
