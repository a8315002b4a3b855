// fused(inputs...) {program}: a straight line of elementwise instructions over all inputs, as made
// by the fuse pass (core/program.h). Every output has the broadcast shape of all inputs.
//
// Also the one kernel path of the family: a single elementwise node is a program of one
// instruction. Dimensions are collapsed until the innermost two are a region of rows x cols in
// which every operand is full, a row, a column or a scalar; the outer ones become a loop.
#include <memory>

#include "core/parallel.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/program_runner.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"
#include "ops/strided.h"

namespace tessera {

namespace {

// Elements below which another thread costs more than it saves.
constexpr std::int64_t kGrain = 32768;
constexpr std::int64_t kMaxCols = 16384;

Program program_of(const Node& node) {
  if (&node.op() == &kFused) {
    return parse_program(node.graph().ops(), node.attrs().string("program"));
  }
  Program program{static_cast<int>(node.inputs().size()), {{&node.op(), {}}}, {0}};
  for (int i = 0; i < program.inputs; ++i) {
    program.code[0].args.push_back({Operand::Kind::input, i, 0});
  }
  return program;
}

OperandKind kind_of(std::int64_t row_stride, std::int64_t col_stride) {
  if (col_stride == 0) return row_stride == 0 ? OperandKind::scalar : OperandKind::column;
  return row_stride == 0 ? OperandKind::row : OperandKind::full;
}

// The collapsed loop: outer dims x rows x cols.
struct Loop {
  StridedLoop strided;  // of the inputs, and last of the outputs
  std::int64_t rows = 1, cols = 1, outer = 1;
  std::vector<std::int64_t> row_strides;

  Loop(const Shape& out, const std::vector<Shape>& inputs) {
    StridedLoop all{out.values(), {}};
    for (const Shape& shape : inputs) all.strides.push_back(broadcast_strides(shape, out));
    all.strides.push_back(strides_of(all.dims));
    strided = collapse(all);
    const std::size_t n = strided.dims.size();
    cols = strided.dims[n - 1];
    rows = n > 1 ? strided.dims[n - 2] : 1;
    for (std::size_t d = 0; d + 2 < n; ++d) outer *= strided.dims[d];
    for (const auto& s : strided.strides) row_strides.push_back(n > 1 ? s[n - 2] : cols);
  }
  std::vector<OperandKind> kinds() const {
    const std::size_t n = strided.dims.size();
    std::vector<OperandKind> out;
    for (std::size_t i = 0; i + 1 < strided.strides.size(); ++i) {
      const std::int64_t col = cols == 1 ? 0 : strided.strides[i][n - 1];
      // One row: a vector along it is as good as full, and may share its buffer with the output.
      out.push_back(n == 1 && strided.strides[i][0] != 0 ? OperandKind::full
                    : n == 1                             ? OperandKind::scalar
                                                         : kind_of(row_strides[i], col));
    }
    return out;
  }
  // Where operand i starts for outer index u.
  std::int64_t offset(std::size_t i, std::int64_t u) const {
    std::int64_t out = 0;
    for (std::size_t d = strided.dims.size() - 2; d-- > 0;) {
      out += (u % strided.dims[d]) * strided.strides[i][d];
      u /= strided.dims[d];
    }
    return out;
  }
};

struct Elementwise {
  Loop loop;
  ProgramRunner runner;
  std::int64_t outputs;

  void run(const KernelArgs& args) const {
    // Units of work: whole rows, or pieces of long ones.
    const std::int64_t pieces = (loop.cols + kMaxCols - 1) / kMaxCols;
    const std::int64_t piece = std::min(loop.cols, kMaxCols);
    const std::int64_t units = loop.outer * loop.rows * pieces;
    parallel_for(units, std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(piece, 1)),
                 [&](std::int64_t begin, std::int64_t end) {
                   while (begin < end) begin = run_from(args, begin, end, pieces);
                 });
  }

  // One rectangle starting at unit `begin`; returns the first unit after it.
  std::int64_t run_from(const KernelArgs& args, std::int64_t begin, std::int64_t end,
                        std::int64_t pieces) const {
    const std::int64_t line = begin / pieces, u = line / loop.rows, row = line % loop.rows;
    const std::int64_t col = begin % pieces * kMaxCols;
    std::int64_t rows = 1, cols = loop.cols, next = 0;
    if (pieces > 1) {
      // Pieces of one row that lie side by side.
      next = std::min(end, (line + 1) * pieces);
      cols = std::min(loop.cols - col, (next - begin) * kMaxCols);
    } else {
      rows = std::min(end - begin, loop.rows - row);
      next = begin + rows;
    }
    ProgramInput in[kMaxProgramOperands];
    ProgramOutput out[kMaxProgramOperands];
    const std::size_t n = runner.kinds().size();
    const bool deep = loop.strided.dims.size() > 2;
    for (std::size_t i = 0; i < n; ++i) {
      const std::int64_t start = deep ? loop.offset(i, u) : 0;
      in[i] = {args.inputs[i].as<const float>() + start, loop.row_strides[i]};
    }
    for (std::size_t o = 0; o < static_cast<std::size_t>(outputs); ++o) {
      const std::int64_t start = deep ? loop.offset(n, u) : 0;
      out[o] = {args.outputs[o].as<float>() + start, loop.row_strides[n]};
    }
    runner.run_at(row, col, rows, cols, in, out);
    return next;
  }
};

KernelPlan prepare_with(const KernelQuery& query, CpuFeatures features) {
  const Node& node = query.node;
  const Shape& shape = node.types()[0].shape;
  std::vector<Shape> inputs;
  for (const Value v : node.inputs()) inputs.push_back(v.shape());
  Loop loop(shape, inputs);
  const Program program = program_of(node);
  ProgramRunner runner(program, loop.kinds(), features);
  auto kernel = std::make_shared<const Elementwise>(Elementwise{
      std::move(loop), std::move(runner), static_cast<std::int64_t>(node.types().size())});
  KernelPlan plan;
  plan.run = [kernel](const KernelArgs& args) { kernel->run(args); };
  plan.in_place = true;
  plan.flops = static_cast<double>(program.code.size()) * static_cast<double>(shape.numel());
  return plan;
}

constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"elementwise_avx512", kAvx512, refuses_encoded,
     [](const KernelQuery& query) { return prepare_with(query, kAvx512); }},
    {"elementwise_avx2", kAvx2, refuses_encoded,
     [](const KernelQuery& query) { return prepare_with(query, kAvx2); }},
#endif
    {"elementwise_plain", kScalar, refuses_encoded,
     [](const KernelQuery& query) { return prepare_with(query, kScalar); }},
    kRefRow,
};

std::vector<TensorType> infer(const InferArgs& args) {
  const Program program = parse_program(args.ops, args.attrs.string("program"));
  args.require(
      args.inputs.size() <= kMaxProgramOperands && program.outputs.size() <= kMaxProgramOperands,
      "a program has at most ", kMaxProgramOperands, " operands and results");
  args.require(program.inputs <= static_cast<int>(args.inputs.size()), "the program reads ",
               program.inputs, " inputs, got ", args.inputs.size());
  return infer_broadcast(args, program.outputs.size());
}

void ref(const RefArgs& args) {
  const Program program = program_of(args.node);
  std::vector<double> results(program.outputs.size());
  for_each_element(args, args.out().type.shape, [&](std::int64_t e, const double* values) {
    evaluate(program, values, results.data());
    for (std::size_t o = 0; o < results.size(); ++o) {
      args.outputs[o].v[static_cast<std::size_t>(e)] = results[o];
    }
  });
}

std::optional<Sample> sample(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  const Shape full = sample_shape(rng, index);
  const Shape last = {full[-1]};
  switch (index % 4) {
    case 0:
      return Sample{{{{DType::f32, full, {}}}}, {{"program", std::string("t0=tanh(a0)->t0")}}};
    case 1:
      return Sample{{{{DType::f32, full, {}}}, {{DType::f32, last, {}}}, {{DType::f32, {}, {}}}},
                    {{"program", std::string("t0=add(a0,a1);t1=relu(t0);t2=mul(t1,a2)->t2,t0")}}};
    case 2:
      return Sample{
          {{{DType::f32, full, {}}}, {{DType::f32, full, {}}}, {{DType::f32, {}, {}}}},
          {{"program",
            std::string("t0=mul(a2,0.9);t1=mul(a1,t0);t2=add(t1,a0);t3=mul(t2,t0);t4=sub(a0,t3);"
                        "t5=where(a1,t4,1.5)->t4,t2,t5,t0,t2")}}};
    default: {
      Shape column = full;
      column[-1] = 1;
      return Sample{{{{DType::f32, column, {}}}, {{DType::f32, full, {}}}},
                    {{"program", std::string("t0=square(a1);t1=exp(a0);t2=div(t0,t1);"
                                             "t3=clamp(t2,-0.5,0.5);t4=pow(2,a0)->t3,t4")}}};
    }
  }
}

}  // namespace

std::span<const KernelRow> elementwise_rows() {
  return kRows;
}

const OpDef kFused{
    .name = "fused",
    .doc = "a straight line of elementwise ops over inputs that broadcast",
    .inputs = {{.name = "inputs", .differentiable = false, .variadic = true}},
    .attrs = {{"program", AttrKind::string, {}}},
    .infer = infer,
    .ref = ref,
    .sample = sample,
    .rows = kRows,
};

}  // namespace tessera
