#include "ops/elementwise/jit/tape.h"

#include <algorithm>
#include <bit>

namespace tessera::jit {

namespace {

constexpr std::uint32_t kEqual = 0;          // _CMP_EQ_OQ
constexpr std::uint32_t kOppositeBit = 0x4;  // predicate ^ this: true where the other is not
constexpr float kNegativeZero = -0.0f;

}  // namespace

int Tape::put(const TapeLine& line) {
  const auto [at, is_new] = known_.try_emplace(line.key(), static_cast<int>(lines_.size()));
  if (is_new) lines_.push_back(line);
  return at->second;
}

int Tape::constant(float value) {
  return put({TapeOp::constant, std::bit_cast<std::uint32_t>(value), {-1, -1, -1}, Level::call});
}

int Tape::input(int index, Level level) {
  return put({TapeOp::input, static_cast<std::uint32_t>(index), {-1, -1, -1}, level});
}

bool Tape::is_constant(int line, float value) const {
  const TapeLine& l = lines_[static_cast<std::size_t>(line)];
  return l.op == TapeOp::constant && l.detail == std::bit_cast<std::uint32_t>(value);
}

int Tape::add(TapeOp op, std::uint32_t detail, int a, int b, int c) {
  const auto at = [&](int i) -> const TapeLine& { return lines_[static_cast<std::size_t>(i)]; };
  // -0 - x is how lanes negate. A negated operand of a product costs nothing.
  if (op == TapeOp::sub && is_constant(a, kNegativeZero)) {
    op = TapeOp::negate;
    std::swap(a, b);
  }
  if (op == TapeOp::multiply_add && at(c).op == TapeOp::negate) {
    op = TapeOp::multiply_subtract;
    c = at(c).args[0];
  } else if (op == TapeOp::multiply_add && at(a).op == TapeOp::negate) {
    op = TapeOp::subtract_multiplied;
    a = at(a).args[0];
  }
  TapeLine line{op, detail, {a, b, c}, Level::call};
  for (const int arg : line.args) {
    if (arg >= 0) line.level = std::max(line.level, at(arg).level);
  }
  return put(line);
}

// The truth of a comparison, 1 or 0, compared with 0 again is the opposite comparison.
int Tape::compare(std::uint32_t predicate, int a, int b) {
  const TapeLine& left = lines_[static_cast<std::size_t>(a)];
  if (predicate == kEqual && is_constant(b, 0) && left.op == TapeOp::select &&
      is_constant(left.args[1], 1) && is_constant(left.args[2], 0)) {
    const TapeLine& mask = lines_[static_cast<std::size_t>(left.args[0])];
    return add(TapeOp::compare, mask.detail ^ kOppositeBit, mask.args[0], mask.args[1]);
  }
  return add(TapeOp::compare, predicate, a, b);
}

// A zero goes to the last place, where it takes no register.
int Tape::select(int mask, int yes, int no) {
  if (is_constant(yes, 0) && !is_constant(no, 0)) {
    const TapeLine& line = lines_[static_cast<std::size_t>(mask)];
    mask = add(TapeOp::compare, line.detail ^ kOppositeBit, line.args[0], line.args[1]);
    std::swap(yes, no);
  }
  return add(TapeOp::select, 0, mask, yes, no);
}

void Tape::finish(std::vector<int> outputs) {
  outputs_ = std::move(outputs);
  for (const int o : outputs_) lines_[static_cast<std::size_t>(o)].used = true;
  for (std::size_t i = lines_.size(); i-- > 0;) {
    if (!lines_[i].used) continue;
    for (const int arg : lines_[i].args) {
      if (arg >= 0) lines_[static_cast<std::size_t>(arg)].used = true;
    }
  }
  // Masks live in mask registers only: they are made where they are read.
  for (bool changed = true; changed;) {
    changed = false;
    const auto raise = [&](TapeLine& line, Level level) {
      if (line.level >= level) return;
      line.level = level;
      changed = true;
    };
    for (TapeLine& line : lines_) {
      if (!line.used) continue;
      for (const int arg : line.args) {
        if (arg >= 0) raise(line, lines_[static_cast<std::size_t>(arg)].level);
      }
      if (line.op == TapeOp::select)
        raise(lines_[static_cast<std::size_t>(line.args[0])], line.level);
    }
  }
}

}  // namespace tessera::jit
