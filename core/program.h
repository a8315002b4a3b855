// A program: a straight line of elementwise ops over f32 blocks. What the fuse pass makes of chains
// of elementwise nodes, run on its own (op `fused`) or as the epilogue of a producer while its
// output is hot in cache (ops with kEpilogue). Carried as text in the attribute `program`:
//   "t0=add(a0,a1);t1=tanh(t0)->t1"
// a<i> is input i (of an epilogue: a0 is the producer's own output), t<i> an earlier result, and a
// plain number a constant.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"

namespace tessera {

inline constexpr int kMaxProgramOperands = 32;  // inputs, and results
inline constexpr int kMaxProgramInstructions = 1024;
inline constexpr int kMaxArity = 8;  // operands of one elementwise op

struct InferArgs;

struct Operand {
  enum class Kind { input, temp, constant };
  Kind kind = Kind::input;
  int index = 0;
  double value = 0;  // constant
  friend bool operator==(const Operand&, const Operand&) = default;
};

struct Instruction {
  const OpDef* op = nullptr;  // an elementwise op
  std::vector<Operand> args;
};

struct Program {
  int inputs = 0;
  std::vector<Instruction> code;
  std::vector<int> outputs;  // temps

  std::string text() const;
};

// Reads the text form; throws Error on unknown or non-elementwise ops, wrong arity, forward uses,
// or more inputs, results or instructions than the limits.
Program parse_program(const OpSet& ops, std::string_view text);

// The program of an op in `infer`: parsed, given `operands` values. What runs programs keeps
// operands in arrays of kMaxProgramOperands; this is where they are counted.
Program program_of(const InferArgs& args, std::string_view attr, std::size_t operands);

// The same for a program that an op with kEpilogue or kPrologue carries: operand a0 is its own
// value, of shape `shape`, the others are its inputs from `first` on, f32 values that broadcast to
// `shape`. None when the attribute is empty; then there are no such inputs.
std::optional<Program> carried_program(const InferArgs& args, std::string_view attr, int first,
                                       const Shape& shape);

// Evaluates one element in f64: `args[i]` are the inputs, results go to `out`.
void evaluate(const Program& program, const double* args, double* out);

}  // namespace tessera
