#include "ops/conv/pixel_epilogue.h"

#include <algorithm>
#include <cstring>

#include "ops/conv/conv.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/program_loop.h"
#include "ops/layout/layout.h"
#include "ops/op_list.h"

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock;

std::vector<TensorType> operand_types(const Node& node) {
  std::vector<TensorType> out;
  for (std::size_t i = 2; i < node.inputs().size(); ++i) out.push_back(node.inputs()[i].type());
  return out;
}

}  // namespace

std::optional<PixelEpilogue::Affine> PixelEpilogue::affine_form(
    const Program& program, const std::vector<Operand>& operands) {
  using Kind = tessera::Operand::Kind;
  Affine out;
  int step = 0;  // multiply, add, bound: each at most once, in this order
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    const Instruction& code = program.code[i];
    const tessera::Operand before = i == 0
                                        ? tessera::Operand{Kind::input, 0, 0}
                                        : tessera::Operand{Kind::temp, static_cast<int>(i) - 1, 0};
    const bool swapped = code.args[0] != before;
    if (swapped && (code.args.size() != 2 || code.args[1] != before)) return std::nullopt;
    const auto channels = [&]() -> std::optional<int> {
      const tessera::Operand& other = code.args[swapped ? 0 : 1];
      if (other.kind != Kind::input || other.index == 0) return std::nullopt;
      const Operand& operand = operands[static_cast<std::size_t>(other.index)];
      if (!operand.channels || operand.copies != 1) return std::nullopt;
      return other.index;
    };
    if (code.op == &kMul && step < 1) {
      const auto operand = channels();
      if (!operand) return std::nullopt;
      out.mul = *operand;
      step = 1;
    } else if (code.op == &kAdd && step < 2) {
      const auto operand = channels();
      if (!operand) return std::nullopt;
      out.add = *operand;
      step = 2;
    } else if (code.op == &kRelu && step < 3) {
      out.low = 0;
      step = 3;
    } else if (code.op == &kClamp && step < 3 && !swapped && code.args[1].kind == Kind::constant &&
               code.args[2].kind == Kind::constant) {
      out.low = static_cast<float>(code.args[1].value);
      out.high = static_cast<float>(code.args[2].value);
      if (!(out.low <= out.high)) return std::nullopt;
      step = 3;
    } else {
      return std::nullopt;
    }
  }
  const auto last = static_cast<int>(program.code.size()) - 1;
  if (program.outputs != std::vector<int>{last}) return std::nullopt;
  return out;
}

std::string PixelEpilogue::refuses(const Node& node) {
  const Shape& shape = node.types()[0].shape;
  for (const TensorType& type : operand_types(node)) {
    if (type.shape == shape) continue;
    if (is_blocked(type)) return "an epilogue operand is a blocked image of another shape";
    const auto s = broadcast_strides(type.shape, shape);
    if (s[2] != 0 || s[3] != 0) return "an epilogue operand varies over pixels only";
  }
  return {};
}

PixelEpilogue::PixelEpilogue(const Node& node, CpuFeatures features, KernelPlan& plan) {
  const Shape& shape = node.types()[0].shape;
  channels_ = shape[1].value();
  blocks_ = channel_blocks(shape);
  pixels_ = shape[2].value() * shape[3].value();
  plan.layout = kBlocked;
  const ProgramRef& program = node.attrs().program("epilogue");
  if (!program) return;
  results_ = program->outputs.size();
  std::vector<TensorType> types = {{DType::f32, shape, blocked_encoding(shape)}};
  for (TensorType& type : operand_types(node)) types.push_back(std::move(type));
  auto packs = ProgramLoop::agree(shape, types, true, plan.layout);
  plan.packs.insert(plan.packs.end(), packs.begin() + 1, packs.end());
  std::vector<OperandKind> kinds;
  for (const TensorType& type : types) {
    Operand operand;
    const auto s = broadcast_strides(type.shape, shape);
    if (is_blocked(type)) {
      operand = {blocks_ * pixels_ * kLanes, pixels_ * kLanes, kLanes};
      kinds.push_back(OperandKind::full);
    } else if (s[1] != 0) {
      operand = {s[0] == 0 ? 0 : copy_floats(), kLine, 0, true};
      operand.copies = s[0] == 0 ? 1 : shape[0].value();
      operand.at = scratch_floats_;
      scratch_floats_ += operand.copies * copy_floats();
      kinds.push_back(OperandKind::row);
    } else {
      operand.image = s[0];
      kinds.push_back(OperandKind::scalar);
    }
    operands_.push_back(operand);
  }
  affine_ = affine_form(*program, operands_);
  runner_ = std::make_unique<const ProgramRunner>(*program, std::move(kinds), features);
}

std::int64_t PixelEpilogue::scratch_bytes() const {
  return scratch_floats_ * 4;
}

PixelEpilogue::Bound PixelEpilogue::bind(const KernelArgs& args, std::byte* scratch) const {
  Bound out{};
  out.epilogue = this;
  for (std::size_t o = 0; o < results_; ++o) out.out[o] = args.outputs[o].as<float>();
  out.in[0] = out.out[0];
  for (std::size_t i = 1; i < operands_.size(); ++i) {
    const Operand& operand = operands_[i];
    const float* from = args.inputs[i + 1].as<const float>();
    out.in[i] = from;
    if (!operand.channels) continue;
    float* to = reinterpret_cast<float*>(scratch) + operand.at;
    out.in[i] = to;
    for (std::int64_t copy = 0; copy < operand.copies; ++copy, from += channels_) {
      for (std::int64_t b = 0; b < blocks_; ++b, to += kLine) {
        const std::int64_t known = std::min(kLanes, channels_ - b * kLanes);
        std::fill(std::copy_n(from + b * kLanes, known, to), to + kLanes, 0.0f);
        for (std::int64_t p = 1; p < kPixels; ++p) std::copy_n(to, kLanes, to + p * kLanes);
      }
    }
  }
  return out;
}

void PixelEpilogue::Bound::run(std::int64_t image, std::int64_t block0, std::int64_t block1,
                               std::int64_t pixel0, std::int64_t pixel1) const {
  const PixelEpilogue& e = *epilogue;
  const std::int64_t count = pixel1 - pixel0;
  for (std::int64_t b = block0; b < block1; ++b) {
    const std::int64_t at = (((image - first_image) * e.blocks_ + b) * e.pixels_ + pixel0) * kLanes;
    if (e.runner_) {
      ProgramInput inputs[kMaxProgramOperands];
      ProgramOutput outputs[kMaxProgramOperands];
      const auto lines = [&](std::int64_t first, std::int64_t rows, std::int64_t pixels) {
        for (std::size_t i = 0; i < e.operands_.size(); ++i) {
          const Operand& o = e.operands_[i];
          const std::int64_t from = i == 0 ? image - first_image : image;
          inputs[i] = {in[i] + from * o.image + b * o.block + (pixel0 + first) * o.pixel, kLine};
        }
        for (std::size_t o = 0; o < e.results_; ++o)
          outputs[o] = {out[o] + at + first * kLanes, kLine};
        e.runner_->run(rows, pixels * kLanes, inputs, outputs);
      };
      const std::int64_t whole = count / kPixels;
      if (whole > 0) lines(0, whole, kPixels);
      if (count % kPixels != 0) lines(whole * kPixels, 1, count % kPixels);
    }
  }
  clear_tail(image, block1, pixel0, pixel1);
}

void PixelEpilogue::Bound::clear_tail(std::int64_t image, std::int64_t block1, std::int64_t pixel0,
                                      std::int64_t pixel1) const {
  const PixelEpilogue& e = *epilogue;
  const std::int64_t tail = e.channels_ % kLanes;
  if (tail == 0 || block1 < e.blocks_) return;
  const std::int64_t last = (image - first_image + 1) * e.blocks_ - 1;
  constexpr std::int64_t kFour = 4;
  static constexpr float kZeros[kFour] = {};
  for (std::size_t o = 0; o < e.results_; ++o) {
    float* lanes = out[o] + (last * e.pixels_ + pixel0) * kLanes;
    for (std::int64_t p = pixel0; p < pixel1; ++p, lanes += kLanes) {
      // Few, and of no fixed number: without calls.
      for (std::int64_t l = tail; l % kFour != 0; ++l) lanes[l] = 0;
      for (std::int64_t l = ceil_div(tail, kFour) * kFour; l < kLanes; l += kFour)
        std::memcpy(lanes + l, kZeros, sizeof kZeros);
    }
  }
}

}  // namespace tessera
