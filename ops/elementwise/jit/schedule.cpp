#include "ops/elementwise/jit/schedule.h"

#include <algorithm>
#include <set>

namespace tessera::jit {

namespace {

class Registers {
 public:
  int take() {
    if (free_.empty()) return count_++;
    const int first = *free_.begin();
    free_.erase(free_.begin());
    return first;
  }
  void give(int r) { free_.insert(r); }
  int count() const { return count_; }

 private:
  std::set<int> free_;
  int count_ = 0;
};

std::vector<Step> steps_of(const Tape& tape, Level level) {
  const auto& lines = tape.lines();
  std::vector<Step> steps;
  std::size_t last_load = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].used && lines[i].level == Level::element && lines[i].op == TapeOp::input)
      last_load = i;
  }
  std::vector<char> stored(tape.outputs().size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].used && lines[i].level == level && lines[i].op != TapeOp::constant)
      steps.push_back({static_cast<int>(i), -1});
    if (level != Level::element || i < last_load) continue;
    for (std::size_t o = 0; o < stored.size(); ++o) {
      if (stored[o] || tape.outputs()[o] > static_cast<int>(i)) continue;
      steps.push_back({tape.outputs()[o], static_cast<int>(o)});
      stored[o] = true;
    }
  }
  return steps;
}

}  // namespace

Section schedule(const Tape& tape, Level level) {
  const auto& lines = tape.lines();
  Section out;
  out.steps = steps_of(tape, level);
  out.reg.assign(lines.size(), -1);
  std::vector<std::size_t> last_use(lines.size());
  for (std::size_t s = 0; s < out.steps.size(); ++s) {
    const Step& step = out.steps[s];
    if (step.output >= 0) last_use[static_cast<std::size_t>(step.line)] = s;
    if (step.output >= 0) continue;
    for (const int arg : lines[static_cast<std::size_t>(step.line)].args) {
      if (arg >= 0) last_use[static_cast<std::size_t>(arg)] = s;
    }
  }
  Registers vectors, masks;
  for (std::size_t s = 0; s < out.steps.size(); ++s) {
    const Step& step = out.steps[s];
    const auto own = static_cast<std::size_t>(step.line);
    std::vector<int> ended;  // vector registers, the last operand's first
    const auto end = [&](int line) {
      const auto i = static_cast<std::size_t>(line);
      if (line < 0 || out.reg[i] < 0 || last_use[i] != s) return;
      if (lines[i].is_mask()) {
        masks.give(out.reg[i]);
      } else if (std::find(ended.begin(), ended.end(), out.reg[i]) == ended.end()) {
        ended.push_back(out.reg[i]);
      }
    };
    if (step.output >= 0) {
      end(step.line);
    } else {
      for (int a = 3; a-- > 0;) end(lines[own].args[a]);
      if (lines[own].is_mask()) {
        out.reg[own] = masks.take();
      } else if (!ended.empty()) {
        out.reg[own] = ended.front();
        ended.erase(ended.begin());
      } else {
        out.reg[own] = vectors.take();
      }
    }
    for (const int r : ended) vectors.give(r);
  }
  out.vectors = vectors.count();
  out.masks = masks.count();
  return out;
}

}  // namespace tessera::jit
