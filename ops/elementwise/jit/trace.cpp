#if defined(__x86_64__)

#include "ops/elementwise/jit/trace.h"

#include "ops/elementwise/jit/lanes_tape-inl.h"

#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/functions-inl.h"
#include "ops/elementwise/program_lines.h"

namespace tessera::jit {

namespace {

struct Recorded {
  using Function = F (*)(const F*);
  template <F (*f)(F)>
  static F one(const F* a) {
    return f(a[0]);
  }
  template <F (*f)(F, F)>
  static F two(const F* a) {
    return f(a[0], a[1]);
  }
  template <F (*f)(F, F, F)>
  static F three(const F* a) {
    return f(a[0], a[1], a[2]);
  }
};
constexpr FunctionTable<Recorded> kFunctions = function_table<Recorded>();

Recorded::Function function_of(const ProgramLine& line) {
  if (line.product) return kFunctions.product[static_cast<std::size_t>(*line.product)];
  const auto code = opcode_of(*line.op);
  return code ? kFunctions.function[static_cast<std::size_t>(*code)] : nullptr;
}

}  // namespace

std::optional<Tape> trace(const Program& program, std::span<const Level> levels) {
  Tape out;
  tape = &out;
  std::vector<F> temps;
  for (const ProgramLine& line : lines_of(program)) {
    temps.emplace_back();
    if (line.dropped) continue;
    const auto function = function_of(line);
    if (function == nullptr) return std::nullopt;
    F args[3];
    for (std::size_t j = 0; j < line.args.size(); ++j) {
      const Operand& arg = line.args[j];
      const auto i = static_cast<std::size_t>(arg.index);
      args[j] = arg.kind == Operand::Kind::temp       ? temps[i]
                : arg.kind == Operand::Kind::constant ? set(static_cast<float>(arg.value))
                                                      : F{out.input(arg.index, levels[i])};
    }
    temps.back() = function(args);
  }
  std::vector<int> outputs;
  for (const int t : program.outputs) outputs.push_back(temps[static_cast<std::size_t>(t)].line);
  out.finish(std::move(outputs));
  return out;
}

}  // namespace tessera::jit

#endif
