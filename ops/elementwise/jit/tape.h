// What a program does to one vector of elements: a list of vector operations, each result written
// once. Made by running the vector functions on lanes that write down what is done to them
// (trace.h), read by the code generator.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

namespace tessera::jit {

enum class TapeOp : std::uint8_t {
  constant,  // detail: bits of the float
  input,     // detail: which
  add,
  sub,
  mul,
  div,
  max,  // (a, b): b when either is NaN or both are zero, as the instruction
  min,
  multiply_add,         // ab + c
  multiply_subtract,    // ab - c
  subtract_multiplied,  // c - ab
  sqrt,
  round,   // detail: the instruction's immediate
  scale,   // a 2^b
  negate,  // of a; b is -0
  and_bits,
  or_bits,
  add_bits,  // 32-bit integers
  sub_bits,
  shift_left,   // detail: by
  shift_right,  // arithmetic; detail: by
  to_float,
  compare,  // a mask; detail: predicate
  select,   // (mask, yes, no)
};

// How often a value changes.
enum class Level : std::uint8_t { call, row, element };

struct TapeLine {
  TapeOp op = TapeOp::constant;
  std::uint32_t detail = 0;
  int args[3] = {-1, -1, -1};
  Level level = Level::element;
  bool used = false;  // by an output, directly or not

  bool is_mask() const { return op == TapeOp::compare; }
  auto key() const { return std::tuple(op, detail, args[0], args[1], args[2]); }
};

class Tape {
 public:
  // The value's line: an earlier one when the same was done before.
  int add(TapeOp op, std::uint32_t detail = 0, int a = -1, int b = -1, int c = -1);
  int constant(float value);
  int input(int index, Level level);
  int compare(std::uint32_t predicate, int a, int b);
  int select(int mask, int yes, int no);
  bool is_constant(int line, float value) const;

  // Marks what `outputs` need and settles levels; call once, last.
  void finish(std::vector<int> outputs);

  const std::vector<TapeLine>& lines() const { return lines_; }
  const std::vector<int>& outputs() const { return outputs_; }

 private:
  int put(const TapeLine& line);

  std::vector<TapeLine> lines_;
  std::vector<int> outputs_;
  std::map<std::tuple<TapeOp, std::uint32_t, int, int, int>, int> known_;
};

}  // namespace tessera::jit
