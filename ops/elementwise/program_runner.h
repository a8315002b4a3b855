// Runs a Program over f32 blocks that stay in the first-level cache: one vector function per
// instruction and block, first loads straight from the inputs, last stores straight to the outputs.
//
// Two users: the op `fused` (and every single elementwise node, as a program of one instruction),
// and kernels with an epilogue, which call it on each tile of their output while it is hot:
//
//   ProgramRunner runner(program, {OperandKind::full, OperandKind::row}, features);  // prepare
//   time
//   ...
//   const ProgramInput in[] = {{tile, tile_ld}, {bias, 0}};         // a0 is the tile itself
//   const ProgramOutput out[] = {{y, ldy}};                         // full matrices
//   runner.run_at(row, col, rows, cols, in, out, /*first_is_tile=*/true);
//
// Where there is AVX-512 the program is compiled to machine code (jit/kernel.h), and what is said
// above is what runs where it cannot be: on other processors, and for pow, sin, cos, users' ops and
// programs with more live values than registers. The bits are the same.
//
// run() is const, allocates nothing and may be called from many threads at once. The bits of an
// element depend on its operands only, not on the region, the block or the thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/cpu.h"
#include "core/program.h"
#include "ops/elementwise/kernels.h"
#include "ops/elementwise/program_operands.h"

namespace tessera {

namespace jit {
class Kernel;
}

class ProgramRunner {
 public:
  enum class Engine : std::uint8_t { best, interpreter };

  // `kinds[i]` tells how input i lies; missing ones are full. `features` picks the vector
  // functions. Throws Error when the program keeps more than 400 values alive at once.
  ProgramRunner(const Program& program, std::vector<OperandKind> kinds, CpuFeatures features,
                Engine engine = Engine::best);

  // All operands point at the region's first element. An output may be the very buffer of an input
  // of the same shape, otherwise they do not overlap.
  void run(std::int64_t rows, std::int64_t cols, const ProgramInput* inputs,
           const ProgramOutput* outputs) const;

  // The region starts at (row, col) of whole matrices that the operands point at; with
  // `first_is_tile`, input 0 already points at the region.
  void run_at(std::int64_t row, std::int64_t col, std::int64_t rows, std::int64_t cols,
              const ProgramInput* inputs, const ProgramOutput* outputs,
              bool first_is_tile = false) const;

  int inputs() const { return static_cast<int>(kinds_.size()); }
  int outputs() const { return outputs_; }
  const std::vector<OperandKind>& kinds() const { return kinds_; }
  const char* name() const { return kernels_->name; }
  // Vector instructions per element, for traces.
  int instructions() const { return static_cast<int>(steps_.size()); }
  bool is_compiled() const { return kernel_ != nullptr; }

 private:
  enum class Where : std::uint8_t { input, slot, output };
  struct Place {
    Where where = Where::slot;
    int index = 0;
  };
  struct Step {
    VectorFunction function = nullptr;
    double (*scalar)(const double*) = nullptr;  // a user's op without a vector function
    int arity = 0;
    Place args[kMaxArity];
    Place out;
  };
  struct Fill {
    int slot = 0;
    int input = -1;   // a scalar or column input, or
    float value = 0;  // a constant
  };
  struct Region;

  void prepare(const Program& program);
  void interpret(std::int64_t rows, std::int64_t cols, const ProgramInput* inputs,
                 const ProgramOutput* outputs) const;
  void run_step(const Step& step, const Region& region) const;

  std::vector<OperandKind> kinds_;
  std::shared_ptr<const jit::Kernel> kernel_;  // or null: the interpreter runs
  const ElementwiseKernels* kernels_ = nullptr;
  std::vector<Fill> uniform_fills_;  // once per run
  std::vector<Step> uniform_steps_;  // instructions whose operands are all scalars: once per run
  std::vector<Fill> column_fills_;   // once per block
  std::vector<Step> steps_;
  int outputs_ = 0;
  int uniform_slots_ = 0;  // slots [0, uniform_slots_) hold one row that serves every row
  int slots_ = 0;
  std::int64_t block_ = 0;  // floats per slot
};

// The vector functions for a feature set.
const ElementwiseKernels& elementwise_kernels(CpuFeatures features);

}  // namespace tessera
