// The program that a node carries (attribute `epilogue` or `prologue`), ready to run on pieces of
// the node's own value while they are hot in cache.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/op_def.h"
#include "ops/elementwise/program_runner.h"

namespace tessera {

class CarriedProgram {
 public:
  // How the value lies: matrices [rows, cols], rows along `row_axis` of `shape`, one matrix for
  // each index of the axis before it, if there is one.
  struct Form {
    Shape shape;
    int row_axis = 0;
    // What is one value a row comes repeated along the columns: channels that lie in lanes.
    bool rows_in_lanes = false;
  };

  // Operand i + 1 of the program is the node's input first + i. None where the node carries no
  // program.
  static std::unique_ptr<const CarriedProgram> of(const Node& node, std::string_view attr,
                                                  int first, const Form& form,
                                                  CpuFeatures features);
  // "" or why an operand varies over a part of the columns only.
  static std::string refuses(const Node& node, int first, const Form& form);

  CarriedProgram(const Program& program, std::span<const Value> operands, int first,
                 const Form& form, CpuFeatures features);

  // A run on one matrix, from row `row` on. Lives on the stack; what callbacks get as context.
  struct Call {
    const CarriedProgram* program;
    ProgramInput inputs[kMaxProgramOperands];
    ProgramOutput outputs[kMaxProgramOperands];
  };
  Call bind(const KernelArgs& args, std::int64_t matrix = 0, std::int64_t row = 0) const;

  // The signature of a GEMM's callbacks: rows and columns of the matrix, of which `tile` holds the
  // node's own value.
  static void run(void* call, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                  std::int64_t cols, float* tile, std::int64_t ld);
  // A tile's rows are short pieces far apart, which the hardware does not see coming: asks for them
  // while the products are summed.
  static void prefetch(void* call, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                       std::int64_t cols, float*, std::int64_t);

  const ProgramRunner& runner() const { return runner_; }
  const std::vector<OperandKind>& kinds() const { return runner_.kinds(); }

 private:
  int first_;
  std::int64_t rows_, cols_;
  std::vector<std::int64_t> matrix_strides_, row_strides_;  // of each operand
  ProgramRunner runner_;
};

}  // namespace tessera
