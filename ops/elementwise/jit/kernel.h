// Machine code for a program, made when a plan is prepared: straight-line AVX-512 over the vectors
// of a row, with every value in a register.
//
//   program --trace--> tape --schedule--> registers --generate--> code
//
// The bits are those of the vector functions, which the code is made from (jit/lanes_tape-inl.h).
#pragma once

#include <memory>
#include <span>

#include "core/cpu.h"
#include "core/program.h"
#include "ops/elementwise/program_operands.h"

namespace tessera::jit {

class Kernel {
 public:
  virtual ~Kernel() = default;
  // As ProgramRunner::run; rows and cols are at least 1.
  void run(std::int64_t rows, std::int64_t cols, const ProgramInput* inputs,
           const ProgramOutput* outputs) const {
    code_(rows, cols, inputs, outputs);
  }

 protected:
  using Code = void (*)(std::int64_t rows, std::int64_t cols, const ProgramInput* inputs,
                        const ProgramOutput* outputs);
  Code code_ = nullptr;
};

// Null where there is no such code: `features` lack AVX-512, TESSERA_JIT=0, an op without vector
// function, more values alive than registers, or a system that refuses executable memory.
std::shared_ptr<const Kernel> compile(const Program& program, std::span<const OperandKind> kinds,
                                      CpuFeatures features);

}  // namespace tessera::jit
