// The last row of every op: converts the buffers to f64, runs the op's reference and converts back.
// Slow and obvious; it makes sure that every op compiles on every machine.
#pragma once

#include "core/op_def.h"

namespace tessera {

std::string refuses_ref(const KernelQuery& query);
KernelPlan prepare_ref(const KernelQuery& query);

inline constexpr KernelRow kRefRow = {"reference", kScalar, refuses_ref, prepare_ref};

// Element values of a stored operand in f64: dense of any dtype, or codebook storage.
std::vector<double> load_elements(const TensorType& type, const BufferRef& buffer);
// Writes a dense value; integers are truncated, bf16 rounds to nearest even.
void store_elements(const std::vector<double>& values, DType dtype, std::byte* to);

}  // namespace tessera
