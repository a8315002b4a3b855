#include "ops/elementwise/carried_program.h"

#include <algorithm>

#include "ops/elementwise/elementwise.h"

namespace tessera {

namespace {

std::int64_t columns_of(const CarriedProgram::Form& form) {
  std::int64_t n = 1;
  for (int axis = form.row_axis + 1; axis < form.shape.rank(); ++axis)
    n *= form.shape[axis].value();
  return n;
}

// An operand's steps from one matrix, row and column to the next.
struct Steps {
  std::int64_t matrix = 0, row = 0;
  bool columns = false;    // it varies along them
  bool in_one_run = true;  // and lies as they do, or not at all
};

Steps steps_of(Value operand, const CarriedProgram::Form& form) {
  const auto strides = broadcast_strides(operand.shape(), form.shape);
  const auto row = static_cast<std::size_t>(form.row_axis);
  TESSERA_ASSERT(row <= 1);
  Steps out{row == 0 ? 0 : strides[0], strides[row], false, true};
  bool all = true;
  std::int64_t run = 1;
  for (std::size_t axis = strides.size() - 1; axis > row; --axis) {
    const std::int64_t size = form.shape[static_cast<int>(axis)].value();
    if (size == 1) continue;
    out.columns = out.columns || strides[axis] != 0;
    all = all && strides[axis] == run;
    run *= size;
  }
  out.in_one_run = !out.columns || all;
  return out;
}

std::vector<OperandKind> kinds_of(std::span<const Value> operands,
                                  const CarriedProgram::Form& form) {
  std::vector<OperandKind> kinds = {OperandKind::full};
  for (const Value v : operands) {
    const Steps steps = steps_of(v, form);
    const bool full = v.shape() == form.shape || (steps.columns && steps.row != 0);
    kinds.push_back(full                 ? OperandKind::full
                    : steps.columns      ? OperandKind::row
                    : steps.row == 0     ? OperandKind::scalar
                    : form.rows_in_lanes ? OperandKind::row
                                         : OperandKind::column);
  }
  return kinds;
}

}  // namespace

CarriedProgram::CarriedProgram(const Program& program, std::span<const Value> operands, int first,
                               const Form& form, CpuFeatures features)
    : first_(first),
      rows_(form.shape[form.row_axis].value()),
      cols_(columns_of(form)),
      runner_(program, kinds_of(operands, form), features) {
  for (const Value v : operands) {
    const Steps steps = steps_of(v, form);
    matrix_strides_.push_back(steps.matrix);
    row_strides_.push_back(steps.row);
  }
}

std::unique_ptr<const CarriedProgram> CarriedProgram::of(const Node& node, std::string_view attr,
                                                         int first, const Form& form,
                                                         CpuFeatures features) {
  const ProgramRef& program = node.attrs().program(attr);
  if (!program) return nullptr;
  const auto operands = node.inputs().subspan(static_cast<std::size_t>(first));
  return std::make_unique<const CarriedProgram>(*program, operands, first, form, features);
}

std::string CarriedProgram::refuses(const Node& node, int first, const Form& form) {
  for (const Value v : node.inputs().subspan(static_cast<std::size_t>(first))) {
    if (!steps_of(v, form).in_one_run)
      return "an epilogue operand varies over one side of the image";
  }
  return {};
}

CarriedProgram::Call CarriedProgram::bind(const KernelArgs& args, std::int64_t matrix,
                                          std::int64_t row) const {
  Call call{this, {}, {}};
  for (std::size_t i = 0; i < row_strides_.size(); ++i) {
    const float* data = args.in(first_ + static_cast<int>(i)).as<const float>();
    call.inputs[i + 1] = {data + matrix * matrix_strides_[i] + row * row_strides_[i],
                          row_strides_[i]};
  }
  for (std::size_t o = 0; o < args.outputs.size(); ++o)
    call.outputs[o] = {args.outputs[o].as<float>() + (matrix * rows_ + row) * cols_, cols_};
  return call;
}

void CarriedProgram::run(void* context, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                         std::int64_t cols, float* tile, std::int64_t ld) {
  const Call& call = *static_cast<const Call*>(context);
  ProgramInput inputs[kMaxProgramOperands];
  std::copy(std::begin(call.inputs), std::end(call.inputs), inputs);
  inputs[0] = {tile, ld};
  call.program->runner_.run_at(row0, col0, rows, cols, inputs, call.outputs, true);
}

void CarriedProgram::prefetch(void* context, std::int64_t row0, std::int64_t rows,
                              std::int64_t col0, std::int64_t cols, float*, std::int64_t) {
  constexpr std::int64_t kLine = 16;  // floats
  const Call& call = *static_cast<const Call*>(context);
  const auto& kinds = call.program->kinds();
  for (std::size_t i = 1; i < kinds.size(); ++i) {
    if (kinds[i] != OperandKind::full) continue;
    const ProgramInput& in = call.inputs[i];
    for (std::int64_t r = row0; r < row0 + rows; ++r) {
      const float* row = in.data + r * in.ld + col0;
      for (std::int64_t c = 0; c < cols + kLine - 1; c += kLine)
        __builtin_prefetch(row + std::min(c, cols - 1), 1, 2);
    }
  }
}

}  // namespace tessera
