// A program: a straight line of elementwise ops over f32 blocks. What the fuse pass makes of chains
// of elementwise nodes, run on its own (op `fused`) or as the epilogue of a producer while its
// output is hot in cache (ops with kEpilogue). An attribute of its node; files and prints say
//   "t0=add(a0,a1);t1=tanh(t0)->t1"
// a<i> is input i (of an epilogue: a0 is the producer's own output), t<i> an earlier result, and a
// plain number a constant.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/shape.h"

namespace tessera {

class OpSet;
struct InferArgs;
struct OpDef;

inline constexpr int kMaxProgramOperands = 32;  // inputs, and results
inline constexpr int kMaxProgramInstructions = 1024;
inline constexpr int kMaxArity = 8;  // operands of one elementwise op

struct Operand {
  enum class Kind { input, temp, constant };
  Kind kind = Kind::input;
  int index = 0;
  double value = 0;  // constant
  // By bits: 0 and -0 differ, NaN equals itself.
  friend bool operator==(const Operand& a, const Operand& b) {
    return a.kind == b.kind && a.index == b.index &&
           std::bit_cast<std::uint64_t>(a.value) == std::bit_cast<std::uint64_t>(b.value);
  }
};

struct Instruction {
  const OpDef* op = nullptr;  // an elementwise op
  std::vector<Operand> args;
  friend bool operator==(const Instruction&, const Instruction&) = default;
};

struct Program {
  int inputs = 0;
  std::vector<Instruction> code;
  std::vector<int> outputs;  // temps

  std::string text() const;
  friend bool operator==(const Program&, const Program&) = default;
};

// A program as the value of an attribute: shared by the nodes that carry it; or none.
class ProgramRef {
 public:
  ProgramRef() = default;
  ProgramRef(Program program)  // NOLINT: meant to be implicit
      : program_(std::make_shared<const Program>(std::move(program))) {}
  explicit operator bool() const { return program_ != nullptr; }
  const Program& operator*() const { return *program_; }
  const Program* operator->() const { return program_.get(); }
  std::string text() const { return program_ ? program_->text() : std::string(); }
  std::size_t hash() const;
  friend bool operator==(const ProgramRef& a, const ProgramRef& b) {
    return a.program_ == b.program_ || (a && b && *a == *b);
  }

 private:
  std::shared_ptr<const Program> program_;
};

// Reads the text form; throws Error on unknown or non-elementwise ops, wrong arity, forward uses,
// or more inputs, results or instructions than the limits.
Program parse_program(const OpSet& ops, std::string_view text);

// The program of an op in `infer`, given `operands` values. What runs programs keeps operands in
// arrays of kMaxProgramOperands; this is where they are counted. Throws Error where a program was
// built that parse_program would not read.
const Program& program_of(const InferArgs& args, std::string_view attr, std::size_t operands);

// The same for a program that an op with kEpilogue or kPrologue carries: operand a0 is its own
// value, of shape `shape`, the others are its inputs from `first` on, f32 values that broadcast to
// `shape`. None when there is none; then there are no such inputs.
ProgramRef carried_program(const InferArgs& args, std::string_view attr, int first,
                           const Shape& shape);

// Evaluates one element in f64: `args[i]` are the inputs, results go to `out`.
void evaluate(const Program& program, const double* args, double* out);

}  // namespace tessera
