// The elementwise family: f32 in, f32 out, numpy broadcasting.
#pragma once

#include <optional>

#include "core/op_def.h"
#include "ops/elementwise/kernels.h"

namespace tessera {

// The vector function of an op; empty for a user's elementwise op, whose scalar function serves.
std::optional<Opcode> opcode_of(const OpDef& op);

// Kernel rows of every elementwise op and of `fused`, best first.
std::span<const KernelRow> elementwise_rows();

// Output types: the broadcast shape of all inputs, `outputs` times.
std::vector<TensorType> infer_broadcast(const InferArgs& args, std::size_t outputs);

// Calls fn(args) with the inputs of each element of a broadcast of shape `out`, in order.
template <class Fn>
void for_each_element(const RefArgs& args, const Shape& out, Fn&& fn);

// Strides of an operand of shape `from` seen at shape `to`: 0 along broadcast axes.
std::vector<std::int64_t> broadcast_strides(const Shape& from, const Shape& to);

template <class Fn>
void for_each_element(const RefArgs& args, const Shape& out, Fn&& fn) {
  const std::size_t n = args.inputs.size();
  std::vector<std::vector<std::int64_t>> strides;
  for (std::size_t i = 0; i < n; ++i) {
    strides.push_back(broadcast_strides(args.inputs[i]->type.shape, out));
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
      values[i] = args.inputs[i]->v[static_cast<std::size_t>(offset)];
    }
    fn(e, values.data());
  }
}

}  // namespace tessera
