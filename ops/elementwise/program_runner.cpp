#include "ops/elementwise/program_runner.h"

#include <algorithm>
#include <bit>
#include <map>
#include <optional>

#include "core/error.h"
#include "core/op_def.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/jit/kernel.h"
#include "ops/elementwise/program_lines.h"
#include "ops/op_list.h"

namespace tessera {

namespace {

constexpr std::int64_t kBufferFloats = 8192;  // 32 KiB of stack per run
constexpr std::int64_t kMaxBlock = 2048;
constexpr std::int64_t kAlign = 16;
constexpr int kMaxSlots = 400;

std::int64_t round_up(std::int64_t n) {
  return (n + kAlign - 1) / kAlign * kAlign;
}

// Slots for temps, each free again after its last use.
class Slots {
 public:
  explicit Slots(int first) : next_(first) {}
  int take() {
    if (free_.empty()) return next_++;
    const int slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void give(int slot) { free_.push_back(slot); }
  int count() const { return next_; }

 private:
  std::vector<int> free_;
  int next_;
};

}  // namespace

const ElementwiseKernels& elementwise_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx512)) return tessera_elementwise_avx512;
  if (features.includes(kAvx2)) return tessera_elementwise_avx2;
#endif
  return tessera_elementwise_ref;
}

// Where the operands of the current region start.
struct ProgramRunner::Region {
  std::int64_t rows, cols;
  const ProgramInput* inputs;
  const ProgramOutput* outputs;
  float* buffer;
  std::int64_t block, slot_ld;
  int uniform_slots;
  std::int64_t row = 0, col = 0;  // of the block within what `inputs` and `outputs` point at

  const float* data(Place place, const std::vector<OperandKind>& kinds, std::int64_t& ld) const {
    const auto i = static_cast<std::size_t>(place.index);
    switch (place.where) {
      case Where::input: {
        const bool full = kinds[i] == OperandKind::full;
        ld = full ? inputs[i].ld : 0;
        return inputs[i].data + (full ? row * inputs[i].ld : 0) + col;
      }
      case Where::output:
        ld = outputs[i].ld;
        return outputs[i].data + row * outputs[i].ld + col;
      case Where::slot:
        ld = place.index < uniform_slots ? 0 : slot_ld;
    }
    return buffer + place.index * block;
  }
};

ProgramRunner::ProgramRunner(const Program& program, std::vector<OperandKind> kinds,
                             CpuFeatures features, Engine engine)
    : kinds_(std::move(kinds)), kernels_(&elementwise_kernels(features)) {
  kinds_.resize(std::max(kinds_.size(), static_cast<std::size_t>(program.inputs)),
                OperandKind::full);
  prepare(program);
  if (engine == Engine::best) kernel_ = jit::compile(program, kinds_, features);
}

void ProgramRunner::prepare(const Program& program) {
  const std::vector<ProgramLine> lines = lines_of(program);
  const std::size_t count = lines.size();
  outputs_ = static_cast<int>(program.outputs.size());

  // Values that are the same for every element are computed once per run, in slots of their own.
  std::vector<char> uniform(count);
  std::map<std::uint32_t, int> constants;  // by bits: 0 and -0 differ, NaN equals itself
  std::map<int, int> scalar_inputs, column_inputs;
  std::vector<Place> home(count);
  int uniform_slots = 0;
  const auto is_uniform = [&](const Operand& arg) {
    if (arg.kind == Operand::Kind::temp) return uniform[static_cast<std::size_t>(arg.index)] != 0;
    return arg.kind == Operand::Kind::constant ||
           kinds_[static_cast<std::size_t>(arg.index)] == OperandKind::scalar;
  };
  int last_input_read = -1;
  std::vector<int> last_use(count, -1);
  for (std::size_t i = 0; i < count; ++i) {
    if (lines[i].dropped) continue;
    const auto& args = lines[i].args;
    uniform[i] = std::all_of(args.begin(), args.end(), is_uniform);
    for (const Operand& arg : args) {
      if (arg.kind == Operand::Kind::constant) {
        const auto value = static_cast<float>(arg.value);
        if (constants.try_emplace(std::bit_cast<std::uint32_t>(value), uniform_slots).second) {
          uniform_fills_.push_back({uniform_slots++, -1, value});
        }
      } else if (arg.kind == Operand::Kind::input) {
        const OperandKind kind = kinds_[static_cast<std::size_t>(arg.index)];
        if (kind == OperandKind::scalar && !scalar_inputs.contains(arg.index)) {
          uniform_fills_.push_back({uniform_slots, arg.index, 0});
          scalar_inputs.emplace(arg.index, uniform_slots++);
        }
        if (kind == OperandKind::column) column_inputs.emplace(arg.index, 0);
        // A row operand is the whole operand when there is one row.
        if (kind == OperandKind::full || kind == OperandKind::row) {
          last_input_read = static_cast<int>(i);
        }
      } else {
        last_use[static_cast<std::size_t>(arg.index)] = static_cast<int>(i);
      }
    }
    if (uniform[i]) home[i] = {Where::slot, uniform_slots++};
  }
  uniform_slots_ = uniform_slots;
  Slots slots(uniform_slots);
  for (auto& [input, slot] : column_inputs) {
    slot = slots.take();
    column_fills_.push_back({slot, input, 0});
  }

  // An output is stored directly unless an input, whose buffer it may share, is read after it.
  std::vector<std::pair<int, int>> copies;  // temp -> output
  for (std::size_t o = 0; o < program.outputs.size(); ++o) {
    const int t = program.outputs[o];
    const auto at = static_cast<std::size_t>(t);
    if (!uniform[at] && t >= last_input_read && home[at].where != Where::output) {
      home[at] = {Where::output, static_cast<int>(o)};
    } else {
      copies.emplace_back(t, static_cast<int>(o));
      last_use[at] = static_cast<int>(count);
    }
  }

  const auto place_of = [&](const Operand& arg) -> Place {
    if (arg.kind == Operand::Kind::temp) return home[static_cast<std::size_t>(arg.index)];
    if (arg.kind == Operand::Kind::constant) {
      const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(arg.value));
      return {Where::slot, constants.at(bits)};
    }
    const OperandKind kind = kinds_[static_cast<std::size_t>(arg.index)];
    if (kind == OperandKind::scalar) return {Where::slot, scalar_inputs.at(arg.index)};
    if (kind == OperandKind::column) return {Where::slot, column_inputs.at(arg.index)};
    return {Where::input, arg.index};
  };
  const auto vector_function = [&](Opcode code) {
    const auto c = static_cast<std::size_t>(code);
    return kernels_->function[c] ? kernels_->function[c] : tessera_elementwise_ref.function[c];
  };
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [op, product, args, dropped] = lines[i];
    if (dropped) continue;
    Step step;
    step.arity = static_cast<int>(args.size());
    check(step.arity <= kMaxArity, "[", op->name, "] an elementwise op has at most ", kMaxArity,
          " inputs");
    if (product) {
      step.function = kernels_->product[static_cast<std::size_t>(*product)];
    } else if (const auto code = opcode_of(*op)) {
      step.function = vector_function(*code);
    } else {
      step.scalar = op->scalar;
    }
    for (std::size_t j = 0; j < args.size(); ++j) step.args[j] = place_of(args[j]);
    if (!uniform[i]) {
      // Operands that end here give their slot to the result: a step may write over its operand.
      for (const Operand& arg : args) {
        if (arg.kind != Operand::Kind::temp) continue;
        const auto t = static_cast<std::size_t>(arg.index);
        if (last_use[t] != static_cast<int>(i) || uniform[t] || home[t].where != Where::slot)
          continue;
        slots.give(home[t].index);
        last_use[t] = -1;
      }
      if (home[i].where != Where::output) home[i] = {Where::slot, slots.take()};
    }
    step.out = home[i];
    (uniform[i] ? uniform_steps_ : steps_).push_back(step);
    if (!uniform[i] && last_use[i] < 0 && home[i].where == Where::slot) slots.give(home[i].index);
  }
  for (const auto& [temp, output] : copies) {
    Step step;
    step.function = vector_function(Opcode::detach);
    step.arity = 1;
    step.args[0] = home[static_cast<std::size_t>(temp)];
    step.out = {Where::output, output};
    steps_.push_back(step);
  }
  slots_ = slots.count();
  check(slots_ <= kMaxSlots, "a program keeps ", slots_, " values alive; the most is ", kMaxSlots);
  block_ = std::min(kMaxBlock, kBufferFloats / std::max(slots_, 1) / kAlign * kAlign);
}

void ProgramRunner::run_step(const Step& step, const Region& region) const {
  const float* in[kMaxArity] = {};
  std::int64_t in_ld[kMaxArity] = {};
  for (int j = 0; j < step.arity; ++j) in[j] = region.data(step.args[j], kinds_, in_ld[j]);
  std::int64_t out_ld = 0;
  float* out = const_cast<float*>(region.data(step.out, kinds_, out_ld));
  if (step.function != nullptr) {
    step.function({region.rows,
                   region.cols,
                   {in[0], in[1], in[2]},
                   {in_ld[0], in_ld[1], in_ld[2]},
                   out,
                   out_ld});
    return;
  }
  double values[kMaxArity];
  for (std::int64_t r = 0; r < region.rows; ++r) {
    for (std::int64_t c = 0; c < region.cols; ++c) {
      for (int j = 0; j < step.arity; ++j) values[j] = in[j][r * in_ld[j] + c];
      out[r * out_ld + c] = static_cast<float>(step.scalar(values));
    }
  }
}

void ProgramRunner::run(std::int64_t rows, std::int64_t cols, const ProgramInput* inputs,
                        const ProgramOutput* outputs) const {
  if (rows <= 0 || cols <= 0) return;
  if (kernel_) {
    kernel_->run(rows, cols, inputs, outputs);
  } else {
    interpret(rows, cols, inputs, outputs);
  }
}

void ProgramRunner::interpret(std::int64_t rows, std::int64_t cols, const ProgramInput* inputs,
                              const ProgramOutput* outputs) const {
  alignas(64) float buffer[kBufferFloats];
  const std::int64_t width = std::min(cols, block_), ld = round_up(width);
  const std::int64_t height = std::min(rows, std::max<std::int64_t>(1, block_ / ld));
  Region region{1, 1, inputs, outputs, buffer, block_, ld, uniform_slots_};

  const auto fill = [&](int slot, float value) {
    std::fill_n(buffer + slot * block_, width, value);
  };
  for (const Fill& f : uniform_fills_) {
    fill(f.slot, f.input < 0 ? f.value : inputs[f.input].data[0]);
  }
  for (const Step& step : uniform_steps_) {
    run_step(step, region);
    fill(step.out.index, buffer[step.out.index * block_]);
  }
  for (std::int64_t r = 0; r < rows; r += height) {
    region.row = r;
    region.rows = std::min(height, rows - r);
    for (std::int64_t c = 0; c < cols; c += width) {
      region.col = c;
      region.cols = std::min(width, cols - c);
      for (const Fill& f : column_fills_) {
        for (std::int64_t i = 0; i < region.rows; ++i) {
          std::fill_n(buffer + f.slot * block_ + i * ld, region.cols,
                      inputs[f.input].data[(r + i) * inputs[f.input].ld]);
        }
      }
      for (const Step& step : steps_) run_step(step, region);
    }
  }
}

void ProgramRunner::run_at(std::int64_t row, std::int64_t col, std::int64_t rows, std::int64_t cols,
                           const ProgramInput* inputs, const ProgramOutput* outputs,
                           bool first_is_tile) const {
  ProgramInput in[kMaxProgramOperands];
  ProgramOutput out[kMaxProgramOperands];
  TESSERA_ASSERT(kinds_.size() <= kMaxProgramOperands && outputs_ <= kMaxProgramOperands);
  for (std::size_t i = 0; i < kinds_.size(); ++i) {
    in[i] = inputs[i];
    if (i == 0 && first_is_tile) continue;
    if (kinds_[i] == OperandKind::full || kinds_[i] == OperandKind::column) {
      in[i].data += row * in[i].ld;
    }
    if (kinds_[i] == OperandKind::full || kinds_[i] == OperandKind::row) in[i].data += col;
  }
  for (int o = 0; o < outputs_; ++o) {
    out[o] = {outputs[o].data + row * outputs[o].ld + col, outputs[o].ld};
  }
  run(rows, cols, in, out);
}

}  // namespace tessera
