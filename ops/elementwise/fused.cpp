// fused(inputs...) {program}: a straight line of elementwise instructions over all inputs, as made
// by the fuse pass (core/program.h). Every output has the broadcast shape of all inputs.
//
// Also the one kernel path of the family: a single elementwise node is a program of one
// instruction.
#include <memory>

#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/program_loop.h"
#include "ops/layout/layout.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

Program program_of(const Node& node) {
  if (&node.op() == &kFused) return *node.attrs().program("program");
  Program program{static_cast<int>(node.inputs().size()), {{&node.op(), {}}}, {0}};
  for (int i = 0; i < program.inputs; ++i) {
    program.code[0].args.push_back({Operand::Kind::input, i, 0});
  }
  return program;
}

std::string refuses_elementwise(const KernelQuery& query) {
  const Node& node = query.node;
  std::vector<TensorType> operands;
  for (const Value v : node.inputs()) operands.push_back(v.type());
  if (!ProgramLoop::any_blocked(operands)) return refuses_encoded(query);
  if (auto reason = refuses_other_layouts(query); !reason.empty()) return reason;
  return ProgramLoop::refuses_blocked(node.types()[0].shape, operands);
}

KernelPlan prepare_with(const KernelQuery& query, CpuFeatures features) {
  const Node& node = query.node;
  const Shape& shape = node.types()[0].shape;
  std::vector<TensorType> operands;
  for (const Value v : node.inputs()) operands.push_back(v.type());
  const Program program = program_of(node);
  KernelPlan plan;
  plan.packs = ProgramLoop::agree(shape, operands, ProgramLoop::any_blocked(operands), plan.layout);
  auto loop =
      std::make_shared<const ProgramLoop>(program, shape, operands, !plan.layout.empty(), features);
  plan.scratch_bytes = loop->scratch_bytes();
  plan.run = [loop](const KernelArgs& args) {
    const float* in[kMaxProgramOperands];
    float* out[kMaxProgramOperands];
    for (std::size_t i = 0; i < args.inputs.size(); ++i) in[i] = args.inputs[i].as<const float>();
    for (std::size_t o = 0; o < args.outputs.size(); ++o) out[o] = args.outputs[o].as<float>();
    loop->run(in, out, args.scratch);
  };
  plan.in_place = true;
  plan.flops = static_cast<double>(program.code.size()) * static_cast<double>(shape.numel());
  return plan;
}

constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"elementwise_avx512", kAvx512, refuses_elementwise,
     [](const KernelQuery& query) { return prepare_with(query, kAvx512); }},
    {"elementwise_avx2", kAvx2, refuses_elementwise,
     [](const KernelQuery& query) { return prepare_with(query, kAvx2); }},
#endif
    {"elementwise_plain", kScalar, refuses_elementwise,
     [](const KernelQuery& query) { return prepare_with(query, kScalar); }},
    kRefRow,
};

std::vector<TensorType> infer(const InferArgs& args) {
  const Program& program = program_of(args, "program", args.inputs.size());
  const TensorType out = in_layout(args, infer_broadcast(args, 1)[0].shape);
  return std::vector<TensorType>(program.outputs.size(), out);
}

void ref(const RefArgs& args) {
  evaluate_elements(*args.node.attrs().program("program"), args.out().type.shape, args.inputs,
                    args.outputs);
}

std::optional<Sample> sample(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  const Shape full = sample_shape(rng, index);
  const Shape last = {full[-1]};
  switch (index % 4) {
    case 0:
      return Sample{{{{DType::f32, full, {}}}}, {{"program", sample_program("t0=tanh(a0)->t0")}}};
    case 1:
      return Sample{
          {{{DType::f32, full, {}}}, {{DType::f32, last, {}}}, {{DType::f32, {}, {}}}},
          {{"program", sample_program("t0=add(a0,a1);t1=relu(t0);t2=mul(t1,a2)->t2,t0")}}};
    case 2:
      return Sample{
          {{{DType::f32, full, {}}}, {{DType::f32, full, {}}}, {{DType::f32, {}, {}}}},
          {{"program",
            sample_program("t0=mul(a2,0.9);t1=mul(a1,t0);t2=add(t1,a0);t3=mul(t2,t0);t4=sub(a0,t3);"
                           "t5=where(a1,t4,1.5)->t4,t2,t5,t0,t2")}}};
    default: {
      Shape column = full;
      column[-1] = 1;
      return Sample{{{{DType::f32, column, {}}}, {{DType::f32, full, {}}}},
                    {{"program", sample_program("t0=square(a1);t1=exp(a0);t2=div(t0,t1);"
                                                "t3=clamp(t2,-0.5,0.5);t4=pow(2,a0)->t3,t4")}}};
    }
  }
}

}  // namespace

void evaluate_elements(const Program& program, const Shape& shape,
                       std::span<const RefTensor* const> operands, std::span<RefTensor> outputs) {
  std::vector<double> results(program.outputs.size());
  for_each_element(operands, shape, [&](std::int64_t e, const double* values) {
    evaluate(program, values, results.data());
    for (std::size_t o = 0; o < results.size(); ++o)
      outputs[o].v[static_cast<std::size_t>(e)] = results[o];
  });
}

void finish_carried(const RefArgs& args, std::string_view attr, int first, RefTensor own) {
  const ProgramRef& program = args.node.attrs().program(attr);
  if (!program) {
    args.out().v = std::move(own.v);
    return;
  }
  std::vector<const RefTensor*> operands = {&own};
  operands.insert(operands.end(), args.inputs.begin() + first, args.inputs.end());
  evaluate_elements(*program, own.type.shape, operands, args.outputs);
}

ProgramRef sample_program(std::string_view text) {
  return parse_program(ops::standard_ops(), text);
}

std::span<const KernelRow> elementwise_rows() {
  return kRows;
}

const OpDef kFused{
    .name = "fused",
    .doc = "a straight line of elementwise ops over inputs that broadcast",
    .inputs = {{.name = "inputs", .differentiable = false, .image = true, .variadic = true}},
    .attrs = {{"program", AttrKind::program, {}}, layout_attr()},
    .infer = infer,
    .ref = ref,
    .sample = sample,
    .rows = kRows,
};

}  // namespace tessera
