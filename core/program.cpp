#include "core/program.h"

#include <algorithm>
#include <charconv>

#include "core/op_def.h"

namespace tessera {

namespace {

std::string operand_text(const Operand& operand) {
  switch (operand.kind) {
    case Operand::Kind::input:
      return "a" + std::to_string(operand.index);
    case Operand::Kind::temp:
      return "t" + std::to_string(operand.index);
    case Operand::Kind::constant:
      return attr_text(operand.value);
  }
  return {};
}

class Reader {
 public:
  Reader(const OpSet& ops, std::string_view text) : ops_(ops), whole_(text), text_(text) {}

  Program read() {
    Program program;
    while (!text_.starts_with("->")) {
      if (program.code.size() == kMaxProgramInstructions)
        bad(cat("at most ", kMaxProgramInstructions, " instructions"));
      if (!program.code.empty()) expect(";");
      read_instruction(program);
    }
    expect("->");
    do {
      if (program.outputs.size() == kMaxProgramOperands)
        bad(cat("at most ", kMaxProgramOperands, " results"));
      expect("t");
      program.outputs.push_back(index(static_cast<int>(program.code.size())));
    } while (take(","));
    if (!text_.empty()) bad("the end");
    return program;
  }

 private:
  [[noreturn]] void bad(std::string_view wanted) const {
    constexpr std::size_t kShown = 100;
    const auto shown = [](std::string_view text) {
      return text.size() <= kShown ? cat("'", text, "'") : cat("'", text.substr(0, kShown), "'...");
    };
    fail("program ", shown(whole_), ": expected ", wanted, " at ", shown(text_));
  }
  bool take(std::string_view token) {
    if (!text_.starts_with(token)) return false;
    text_.remove_prefix(token.size());
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) bad(token);
  }
  int index(int limit) {
    int value = -1;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc() || value < 0 || value >= limit) bad(cat("an index below ", limit));
    text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
    return value;
  }
  void read_instruction(Program& program) {
    const int number = static_cast<int>(program.code.size());
    expect("t");
    if (index(number + 1) != number) bad(cat("t", number));
    expect("=");
    const auto open = text_.find('(');
    if (open == std::string_view::npos) bad("an op");
    const OpDef* op = ops_.find(text_.substr(0, open));
    if (op == nullptr || !op->has(kElementwise)) bad("an elementwise op");
    text_.remove_prefix(open + 1);
    Instruction instruction{op, {}};
    while (!take(")")) {
      if (instruction.args.size() == kMaxArity) bad("')'");
      if (!instruction.args.empty()) expect(",");
      instruction.args.push_back(operand(program, number));
    }
    if (op->inputs.size() > kMaxArity) bad(cat("an op of at most ", kMaxArity, " operands"));
    if (instruction.args.size() != op->inputs.size()) bad(cat(op->inputs.size(), " operands"));
    program.code.push_back(std::move(instruction));
  }
  Operand operand(Program& program, int number) {
    if (take("a")) {
      const int i = index(kMaxProgramOperands);
      program.inputs = std::max(program.inputs, i + 1);
      return {Operand::Kind::input, i, 0};
    }
    if (take("t")) return {Operand::Kind::temp, index(number), 0};
    double value = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc()) bad("an operand");
    text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
    return {Operand::Kind::constant, 0, value};
  }

  const OpSet& ops_;
  std::string_view whole_, text_;
};

}  // namespace

std::string Program::text() const {
  std::string out;
  for (std::size_t i = 0; i < code.size(); ++i) {
    out += cat(i ? ";" : "", "t", i, "=", code[i].op->name, "(");
    for (std::size_t j = 0; j < code[i].args.size(); ++j) {
      out += (j ? "," : "") + operand_text(code[i].args[j]);
    }
    out += ")";
  }
  out += "->";
  for (std::size_t i = 0; i < outputs.size(); ++i) out += cat(i ? "," : "", "t", outputs[i]);
  return out;
}

Program parse_program(const OpSet& ops, std::string_view text) {
  return Reader(ops, text).read();
}

std::size_t ProgramRef::hash() const {
  std::size_t hash = 0;
  const auto mix = [&](std::size_t value) { hash = hash * 0x100000001b3ull + value + 1; };
  if (!program_) return hash;
  for (const Instruction& instruction : program_->code) {
    mix(std::hash<const void*>()(instruction.op));
    for (const Operand& operand : instruction.args) {
      mix(static_cast<std::size_t>(operand.kind) + 4 * static_cast<std::size_t>(operand.index));
      mix(std::bit_cast<std::uint64_t>(operand.value));
    }
  }
  for (const int t : program_->outputs) mix(static_cast<std::size_t>(t));
  return hash;
}

namespace {

// What the parser demands of a text, of a program that was built.
void check_built(const InferArgs& args, const Program& program) {
  const auto within = [](int index, std::size_t count) {
    return index >= 0 && static_cast<std::size_t>(index) < count;
  };
  args.require(program.code.size() <= kMaxProgramInstructions && !program.outputs.empty() &&
                   program.outputs.size() <= kMaxProgramOperands,
               "a program has at most ", kMaxProgramInstructions, " instructions and 1 to ",
               kMaxProgramOperands, " results");
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    const auto& [op, operands] = program.code[i];
    bool right = op != nullptr && op->has(kElementwise) && operands.size() == op->inputs.size() &&
                 operands.size() <= kMaxArity;
    for (const Operand& operand : operands) {
      right = right && (operand.kind == Operand::Kind::constant ||
                        within(operand.index, operand.kind == Operand::Kind::temp
                                                  ? i
                                                  : static_cast<std::size_t>(program.inputs)));
    }
    args.require(right, "instruction ", i,
                 " of the program is no elementwise op of earlier values");
  }
  for (const int result : program.outputs)
    args.require(within(result, program.code.size()), "the program has no t", result);
}

}  // namespace

const Program& program_of(const InferArgs& args, std::string_view attr, std::size_t operands) {
  args.require(operands <= kMaxProgramOperands, "a program has at most ", kMaxProgramOperands,
               " operands, got ", operands);
  const ProgramRef& carried = args.attrs.program(attr);
  args.require(static_cast<bool>(carried), "the ", attr, " is missing");
  const Program& program = *carried;
  check_built(args, program);
  args.require(program.inputs <= static_cast<int>(operands), "the ", attr, " reads ",
               program.inputs, " values, there are ", operands);
  return program;
}

ProgramRef carried_program(const InferArgs& args, std::string_view attr, int first,
                           const Shape& shape) {
  const std::size_t extra = args.inputs.size() - static_cast<std::size_t>(first);
  const ProgramRef& program = args.attrs.program(attr);
  if (!program) {
    args.require(extra == 0, "extra operands need an attribute '", attr, "'");
    return program;
  }
  program_of(args, attr, 1 + extra);
  for (int i = first; i < static_cast<int>(args.inputs.size()); ++i) {
    args.require(args.has(i), attr, " operand ", i - first + 1, " is missing");
    args.require_dtype(i, DType::f32);
    args.require(broadcasts_to(args.shape(i), shape), attr, " operand ", args.in(i),
                 " does not broadcast to ", shape);
  }
  return program;
}

void evaluate(const Program& program, const double* args, double* out) {
  std::vector<double> temps(program.code.size());
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    double values[kMaxArity];
    const auto& instruction = program.code[i];
    for (std::size_t j = 0; j < instruction.args.size(); ++j) {
      const Operand& arg = instruction.args[j];
      values[j] = arg.kind == Operand::Kind::input  ? args[arg.index]
                  : arg.kind == Operand::Kind::temp ? temps[static_cast<std::size_t>(arg.index)]
                                                    : arg.value;
    }
    temps[i] = instruction.op->scalar(values);
  }
  for (std::size_t i = 0; i < program.outputs.size(); ++i) {
    out[i] = temps[static_cast<std::size_t>(program.outputs[i])];
  }
}

}  // namespace tessera
