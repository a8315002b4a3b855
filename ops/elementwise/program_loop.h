// A Program over whole tensors: what the op `fused` runs, and what kernels that cannot apply their
// epilogue to hot tiles run over their result. Results are dense or blocked images
// (ops/layout/layout.h); operands broadcast to them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/op_def.h"
#include "core/program.h"

namespace tessera {

class ProgramLoop {
 public:
  // Operand and result types as stored; see agree(). Throws Error as ProgramRunner does.
  ProgramLoop(const Program& program, const Shape& shape, std::span<const TensorType> operands,
              bool blocked, CpuFeatures features);
  ~ProgramLoop();

  static bool any_blocked(std::span<const TensorType> operands);
  // "" or why results of this shape cannot be blocked with these operands.
  static std::string refuses_blocked(const Shape& shape, std::span<const TensorType> operands);
  // The repacks that make the operands fit results in the layout; sets `layout` when blocked, and
  // updates `operands` to the types after repacking.
  static std::vector<std::optional<OperandPack>> agree(const Shape& shape,
                                                       std::span<TensorType> operands, bool blocked,
                                                       std::string& layout);

  std::int64_t scratch_bytes() const;
  // A result may be the very buffer of an operand of its type.
  void run(const float* const* in, float* const* out, std::byte* scratch) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace tessera
