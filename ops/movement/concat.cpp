// concat {axis}: inputs one after the other along axis, as strided copies.
#include "ops/layout/layout.h"
#include "ops/movement/blocked.h"
#include "ops/movement/movement.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

std::vector<TensorType> infer_concat(const InferArgs& args) {
  args.require(!args.inputs.empty(), "needs an input");
  const int axis = axis_of(args.attrs, args.shape(0), args.op.name);
  Shape out = args.shape(0);
  std::int64_t total = 0;
  for (int i = 0; i < static_cast<int>(args.inputs.size()); ++i) {
    args.require(args.in(i).dtype == args.in(0).dtype && args.shape(i).rank() == out.rank(),
                 "cannot join ", args.in(0), " and ", args.in(i));
    for (int d = 0; d < out.rank(); ++d) {
      args.require(d == axis || args.shape(i)[d] == out[d], "cannot join ", args.in(0), " and ",
                   args.in(i), " along axis ", axis);
    }
    args.require(!args.shape(i)[axis].is_symbolic(), "axis ", axis, " of ", args.in(i),
                 " is the batch");
    total += args.shape(i)[axis].value();
  }
  out[axis] = total;
  return {in_layout(args, out, args.in(0).dtype)};
}

std::vector<Value> grad_concat(const GradArgs& args) {
  const int axis = axis_of(args.node.attrs(), args.in(0).shape(), "concat");
  std::vector<Value> out;
  std::int64_t begin = 0;
  for (int i = 0; i < static_cast<int>(args.node.inputs().size()); ++i) {
    const std::int64_t end = begin + args.in(i).shape()[axis].value();
    out.push_back(args.wants(i) ? ops::slice(args.grad(), axis, begin, end) : Value());
    begin = end;
  }
  return out;
}

void ref_concat(const RefArgs& args) {
  const Shape& out = args.out().type.shape;
  const int axis = axis_of(args.node.attrs(), out, "concat");
  std::int64_t begin = 0;
  for (const RefTensor* x : args.inputs) {
    for_each_placed(x->type.shape, axis, out[axis].value(),
                    {{"begin", begin}, {"step", std::int64_t{1}}},
                    [&](std::size_t e, std::size_t at) { args.out().v[at] = x->v[e]; });
    begin += x->type.shape[axis].value();
  }
}

std::optional<Sample> sample_concat(Rng& rng, int index) {
  if (index >= kSamples && index < kSamples + kImages) {
    const std::int64_t axis = index == kSamples ? 1 : 2;
    return Sample{{sample_x(DType::f32, sample_image()), sample_x(DType::f32, sample_image())},
                  {{"axis", axis}}};
  }
  const auto dtype = sample_dtype(index);
  if (!dtype) return std::nullopt;
  const Shape shape = sample_shape(rng, index);
  const int axis = (index + 1) % shape.rank();
  Sample out{{}, {{"axis", std::int64_t{axis}}}};
  for (int i = 0; i <= index % 3; ++i) {
    Shape part = shape;
    part[axis] = static_cast<std::int64_t>(rng.below(6));
    out.inputs.push_back(sample_x(*dtype, part));
  }
  return out;
}

KernelPlan prepare_concat(const KernelQuery& query) {
  const TensorType& out = query.node.types()[0];
  const int axis = axis_of(query.node.attrs(), out.shape, "concat");
  const auto to = strides(out.shape);
  std::vector<StridedCopy> copies;
  std::int64_t offset = 0;
  for (int i = 0; i < static_cast<int>(query.node.inputs().size()); ++i) {
    const Shape& shape = query.node.input(i).shape();
    copies.push_back({{shape.values(), {strides(shape), to}}, size_of(out.dtype), 0, offset, i});
    offset += shape[axis].value() * to[static_cast<std::size_t>(axis)];
  }
  return plan_copies(std::move(copies));
}
KernelPlan prepare_blocked_concat(const KernelQuery& query) {
  const Shape& out = query.node.types()[0].shape;
  const int axis = axis_of(query.node.attrs(), out, "concat");
  std::vector<StridedCopy> copies;
  std::vector<std::optional<OperandPack>> packs;
  std::int64_t begin = 0;
  for (int i = 0; i < static_cast<int>(query.node.inputs().size()); ++i) {
    const TensorType& type = query.node.input(i).type();
    packs.push_back(as_blocked(type));
    for (StridedCopy& copy : blocked_copies(type.shape, out, axis, begin, 1, true)) {
      copy.input = i;
      copies.push_back(std::move(copy));
    }
    begin += type.shape[axis].value();
  }
  KernelPlan plan = plan_blocked(out, std::move(copies), has_tail(out));
  plan.packs = std::move(packs);
  return plan;
}
constexpr KernelRow kConcatRows[] = {
    {"blocked_copy", kScalar, refuses_unblocked, prepare_blocked_concat},
    {"strided_copy", kScalar, refuses_encoded, prepare_concat},
    kRefRow};

}  // namespace

const OpDef kConcat{.name = "concat",
                    .doc = "inputs one after the other along axis",
                    .inputs = {{.name = "xs", .image = true, .variadic = true}},
                    .attrs = {{"axis", AttrKind::integer, {}}, layout_attr()},
                    .traits = kMovement,
                    .infer = infer_concat,
                    .grad = grad_concat,
                    .ref = ref_concat,
                    .sample = sample_concat,
                    .rows = kConcatRows};

namespace ops {

Value concat(const std::vector<Value>& xs, int axis) {
  check(!xs.empty() && xs[0], "[concat] needs a value");
  return make_node(kConcat, xs,
                   {{"axis", std::int64_t{normalize_axis("concat", axis, xs[0].shape())}}});
}

}  // namespace ops
}  // namespace tessera
