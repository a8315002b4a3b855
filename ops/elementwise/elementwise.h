// The elementwise family: f32 in, f32 out, numpy broadcasting.
#pragma once

#include <optional>

#include "core/op_def.h"
#include "core/program.h"
#include "ops/elementwise/kernels.h"

namespace tessera {

// The vector function of an op; empty for a user's elementwise op, whose scalar function serves.
std::optional<Opcode> opcode_of(const OpDef& op);

// Kernel rows of every elementwise op and of `fused`, best first.
std::span<const KernelRow> elementwise_rows();

// Output types: the broadcast shape of all inputs, `outputs` times.
std::vector<TensorType> infer_broadcast(const InferArgs& args, std::size_t outputs);

// Calls fn(element, values) with the operands of each element of a broadcast of shape `out`, in
// order.
template <class Fn>
void for_each_element(std::span<const RefTensor* const> operands, const Shape& out, Fn&& fn);

// The reference of a program over operands that broadcast to `shape`: what `fused` means, and what
// an op with an epilogue or prologue does to its own value, operand 0.
void evaluate_elements(const Program& program, const Shape& shape,
                       std::span<const RefTensor* const> operands, std::span<RefTensor> outputs);
// The same for an op with an epilogue: `own` is its value, its inputs from `first` on are the other
// operands. Without a program the value is the result.
void finish_carried(const RefArgs& args, std::string_view attr, int first, RefTensor own);
// A program of an op's samples.
ProgramRef sample_program(std::string_view text);

// Strides of an operand of shape `from` seen at shape `to`: 0 along broadcast axes.
std::vector<std::int64_t> broadcast_strides(const Shape& from, const Shape& to);

template <class Fn>
void for_each_element(std::span<const RefTensor* const> operands, const Shape& out, Fn&& fn) {
  const std::size_t n = operands.size();
  std::vector<std::vector<std::int64_t>> strides;
  for (std::size_t i = 0; i < n; ++i) {
    strides.push_back(broadcast_strides(operands[i]->type.shape, out));
  }
  const auto dims = out.values();
  std::vector<double> values(n);
  std::vector<std::int64_t> at(dims.size());
  for (std::int64_t e = 0, count = out.numel(); e < count; ++e) {
    for (std::int64_t rest = e, d = static_cast<std::int64_t>(dims.size()); d-- > 0;) {
      at[static_cast<std::size_t>(d)] = rest % dims[static_cast<std::size_t>(d)];
      rest /= dims[static_cast<std::size_t>(d)];
    }
    for (std::size_t i = 0; i < n; ++i) {
      std::int64_t offset = 0;
      for (std::size_t d = 0; d < dims.size(); ++d) offset += at[d] * strides[i][d];
      values[i] = operands[i]->v[static_cast<std::size_t>(offset)];
    }
    fn(e, values.data());
  }
}

}  // namespace tessera
