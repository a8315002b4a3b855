#include "ops/conv/image_epilogue.h"

#include <algorithm>

#include "core/program.h"
#include "ops/layout/layout.h"

namespace tessera {

std::string ImageEpilogue::refuses(const Node& node) {
  std::vector<TensorType> operands;
  for (std::size_t i = 2; i < node.inputs().size(); ++i)
    operands.push_back(node.inputs()[i].type());
  return ProgramLoop::refuses_blocked(node.types()[0].shape, operands);
}

ImageEpilogue::ImageEpilogue(const Node& node, CpuFeatures features, KernelPlan& plan) {
  plan.layout = kBlocked;
  const ProgramRef& program = node.attrs().program("epilogue");
  if (!program) return;
  const Shape& shape = node.types()[0].shape;
  std::vector<TensorType> operands = {{DType::f32, shape, blocked_encoding(shape)}};
  for (std::size_t i = 2; i < node.inputs().size(); ++i)
    operands.push_back(node.inputs()[i].type());
  auto packs = ProgramLoop::agree(shape, operands, true, plan.layout);
  plan.packs.insert(plan.packs.end(), packs.begin() + 1, packs.end());
  loop_ = std::make_unique<ProgramLoop>(*program, shape, operands, true, features);
  plan.scratch_bytes = std::max(plan.scratch_bytes, loop_->scratch_bytes());
}

void ImageEpilogue::run(const KernelArgs& args) const {
  if (!loop_) return;
  const float* in[kMaxProgramOperands] = {args.out().as<const float>()};
  float* out[kMaxProgramOperands];
  for (std::size_t i = 2; i < args.inputs.size(); ++i) in[i - 1] = args.inputs[i].as<const float>();
  for (std::size_t o = 0; o < args.outputs.size(); ++o) out[o] = args.outputs[o].as<float>();
  loop_->run(in, out, args.scratch);
}

}  // namespace tessera
