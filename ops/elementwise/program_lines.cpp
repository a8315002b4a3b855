#include "ops/elementwise/program_lines.h"

#include "ops/op_list.h"

namespace tessera {

std::vector<ProgramLine> lines_of(const Program& program) {
  std::vector<ProgramLine> lines;
  std::vector<int> uses(program.code.size());
  for (const auto& [op, args] : program.code) {
    for (const Operand& arg : args) {
      if (arg.kind == Operand::Kind::temp) ++uses[static_cast<std::size_t>(arg.index)];
    }
    lines.push_back({op, std::nullopt, args, false});
  }
  for (const int t : program.outputs) ++uses[static_cast<std::size_t>(t)];
  const auto joinable = [&](const Operand& arg) {
    if (arg.kind != Operand::Kind::temp) return false;
    const auto t = static_cast<std::size_t>(arg.index);
    return lines[t].op == &kMul && !lines[t].product && uses[t] == 1;
  };
  for (ProgramLine& line : lines) {
    if (line.op != &kAdd && line.op != &kSub) continue;
    const bool left = joinable(line.args[0]);
    if (!left && !joinable(line.args[1])) continue;
    const Operand term = line.args[left ? 1 : 0];
    ProgramLine& mul = lines[static_cast<std::size_t>(line.args[left ? 0 : 1].index)];
    line.product = line.op == &kAdd ? ProductOp::multiply_add
                   : left           ? ProductOp::multiply_subtract
                                    : ProductOp::subtract_multiplied;
    line.args = {mul.args[0], mul.args[1], term};
    mul.dropped = true;
    mul.args.clear();
  }
  return lines;
}

}  // namespace tessera
