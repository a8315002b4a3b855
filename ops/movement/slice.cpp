// x along an axis in steps, as strided copies; each is the gradient of the other:
//   slice {axis, begin, end, step}   x[begin:end:step] along axis
//   place {axis, begin, size, step}  zeros of `size` along axis with x at begin, begin + step, ...
#include "ops/layout/layout.h"
#include "ops/movement/blocked.h"
#include "ops/movement/movement.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

std::vector<TensorType> infer_slice(const InferArgs& args) {
  const int axis = axis_of(args.attrs, args.shape(0), args.op.name);
  const std::int64_t begin = args.attrs.integer("begin"), end = args.attrs.integer("end");
  const std::int64_t step = args.attrs.integer("step");
  const Dim dim = args.shape(0)[axis];
  args.require(!dim.is_symbolic(), "axis ", axis, " of ", args.in(0), " is the batch");
  args.require(step >= 1, "step must be 1 or more, got ", step);
  args.require(begin >= 0 && begin <= end && end <= dim.value(), "[", begin, ", ", end,
               ") is outside axis ", axis, " of ", args.in(0));
  Shape out = args.shape(0);
  out[axis] = (end - begin + step - 1) / step;
  return {in_layout(args, out, args.in(0).dtype)};
}

std::vector<TensorType> infer_place(const InferArgs& args) {
  const int axis = axis_of(args.attrs, args.shape(0), args.op.name);
  const std::int64_t begin = args.attrs.integer("begin"), size = args.attrs.integer("size");
  const std::int64_t step = args.attrs.integer("step");
  const Dim dim = args.shape(0)[axis];
  args.require(!dim.is_symbolic(), "axis ", axis, " of ", args.in(0), " is the batch");
  args.require(step >= 1, "step must be 1 or more, got ", step);
  const std::int64_t last = begin + (dim.value() - 1) * step;  // attributes and sizes are small
  args.require(begin >= 0 && (dim.value() == 0 || last < size) && size >= 0, args.in(0), " from ",
               begin, " in steps of ", step, " does not fit ", size, " along axis ", axis);
  Shape out = args.shape(0);
  out[axis] = size;
  return {in_layout(args, out, args.in(0).dtype)};
}

std::vector<Value> grad_slice(const GradArgs& args) {
  const Attrs& attrs = args.node.attrs();
  const int axis = axis_of(attrs, args.in(0).shape(), "slice");
  return {ops::place(args.grad(), axis, attrs.integer("begin"), args.in(0).shape()[axis].value(),
                     attrs.integer("step"))};
}

std::vector<Value> grad_place(const GradArgs& args) {
  const Attrs& attrs = args.node.attrs();
  const int axis = axis_of(attrs, args.in(0).shape(), "place");
  const std::int64_t begin = attrs.integer("begin"), step = attrs.integer("step");
  const std::int64_t n = args.in(0).shape()[axis].value();
  return {ops::slice(args.grad(), axis, begin, n == 0 ? begin : begin + (n - 1) * step + 1, step)};
}

void ref_slice(const RefArgs& args) {
  const Shape& from = args.in(0).type.shape;
  const int axis = axis_of(args.node.attrs(), from, "slice");
  for_each_placed(args.out().type.shape, axis, from[axis].value(), args.node.attrs(),
                  [&](std::size_t e, std::size_t at) { args.out().v[e] = args.in(0).v[at]; });
}

void ref_place(const RefArgs& args) {
  const Shape& to = args.out().type.shape;
  const int axis = axis_of(args.node.attrs(), to, "place");
  for_each_placed(args.in(0).type.shape, axis, to[axis].value(), args.node.attrs(),
                  [&](std::size_t e, std::size_t at) { args.out().v[at] = args.in(0).v[e]; });
}

std::optional<Sample> sample_slice(Rng& rng, int index) {
  if (index >= kSamples && index < kSamples + kImages) {
    const bool channels = index == kSamples;
    return Sample{{sample_x(DType::f32, sample_image())},
                  {{"axis", std::int64_t{channels ? 1 : 3}},
                   {"begin", std::int64_t{channels ? 7 : 1}},
                   {"end", std::int64_t{channels ? 19 : 5}},
                   {"step", std::int64_t{channels ? 1 : 2}}}};
  }
  const auto dtype = sample_dtype(index);
  if (!dtype) return std::nullopt;
  const Shape shape = sample_shape(rng, index);
  const int axis = index % shape.rank();
  const std::int64_t n = shape[axis].value(), begin = n / 3;
  return Sample{{sample_x(*dtype, shape)},
                {{"axis", std::int64_t{axis}},
                 {"begin", begin},
                 {"end", index == 2 ? begin : n - n / 5},
                 {"step", std::int64_t{index % 3 == 1 ? 2 : 1}}}};
}

std::optional<Sample> sample_place(Rng& rng, int index) {
  if (index >= kSamples && index < kSamples + kImages) {
    const bool channels = index == kSamples;
    return Sample{{sample_x(DType::f32, sample_image())},
                  {{"axis", std::int64_t{channels ? 1 : 2}},
                   {"begin", std::int64_t{channels ? 9 : 1}},
                   {"size", std::int64_t{channels ? 37 : 13}},
                   {"step", std::int64_t{channels ? 1 : 2}}}};
  }
  const auto dtype = sample_dtype(index);
  if (!dtype) return std::nullopt;
  const Shape shape = sample_shape(rng, index);
  const int axis = index % shape.rank();
  const std::int64_t step = index % 3 == 1 ? 2 : 1, begin = index % 4;
  return Sample{{sample_x(*dtype, shape)},
                {{"axis", std::int64_t{axis}},
                 {"begin", begin},
                 {"size", begin + shape[axis].value() * step + index % 2},
                 {"step", step}}};
}

// The copy between a short tensor and the places of a long one.
StridedCopy placed_copy(const Node& node, const Shape& small, const Shape& large, bool to_large) {
  const int axis = axis_of(node.attrs(), small, node.op().name);
  auto in_large = strides(large);
  const std::int64_t offset =
      node.attrs().integer("begin") * in_large[static_cast<std::size_t>(axis)];
  // A step beyond the long tensor is never taken.
  in_large[static_cast<std::size_t>(axis)] *=
      std::min(node.attrs().integer("step"), std::max<std::int64_t>(1, large[axis].value()));
  StridedCopy copy{{small.values(), {}}, size_of(node.types()[0].dtype)};
  if (to_large) {
    copy.loop.strides = {strides(small), in_large};
    copy.to_offset = offset;
  } else {
    copy.loop.strides = {in_large, strides(small)};
    copy.from_offset = offset;
  }
  return copy;
}

KernelPlan prepare_slice(const KernelQuery& query) {
  const Node& node = query.node;
  return plan_copies({placed_copy(node, node.types()[0].shape, node.input(0).shape(), false)});
}
KernelPlan prepare_place(const KernelQuery& query) {
  const Node& node = query.node;
  const TensorType& out = node.types()[0];
  return plan_copies({placed_copy(node, node.input(0).shape(), out.shape, true)},
                     out.shape.numel() * size_of(out.dtype));
}

template <bool kToLarge>
KernelPlan prepare_blocked(const KernelQuery& query) {
  const Node& node = query.node;
  const Shape &in = node.input(0).shape(), &out = node.types()[0].shape;
  const int axis = axis_of(node.attrs(), in, node.op().name);
  auto copies =
      blocked_copies(kToLarge ? in : out, kToLarge ? out : in, axis, node.attrs().integer("begin"),
                     node.attrs().integer("step"), kToLarge);
  return plan_blocked(out, std::move(copies), kToLarge || has_tail(out));
}

constexpr KernelRow kSliceRows[] = {
    {"blocked_copy", kScalar, refuses_unblocked, prepare_blocked<false>},
    {"strided_copy", kScalar, refuses_encoded, prepare_slice},
    kRefRow};
constexpr KernelRow kPlaceRows[] = {
    {"blocked_copy", kScalar, refuses_unblocked, prepare_blocked<true>},
    {"strided_copy", kScalar, refuses_encoded, prepare_place},
    kRefRow};

}  // namespace

const OpDef kSlice{.name = "slice",
                   .doc = "x[begin:end:step] along axis",
                   .inputs = {{.name = "x", .image = true}},
                   .attrs = {{"axis", AttrKind::integer, {}},
                             {"begin", AttrKind::integer, {}},
                             {"end", AttrKind::integer, {}},
                             {"step", AttrKind::integer, std::int64_t{1}},
                             layout_attr()},
                   .traits = kMovement,
                   .infer = infer_slice,
                   .grad = grad_slice,
                   .ref = ref_slice,
                   .sample = sample_slice,
                   .rows = kSliceRows};
const OpDef kPlace{.name = "place",
                   .doc = "zeros of size along axis, x at begin, begin + step, ...",
                   .inputs = {{.name = "x", .image = true}},
                   .attrs = {{"axis", AttrKind::integer, {}},
                             {"begin", AttrKind::integer, {}},
                             {"size", AttrKind::integer, {}},
                             {"step", AttrKind::integer, std::int64_t{1}},
                             layout_attr()},
                   .traits = kMovement,
                   .infer = infer_place,
                   .grad = grad_place,
                   .ref = ref_place,
                   .sample = sample_place,
                   .rows = kPlaceRows};

namespace ops {

Value slice(Value x, int axis, std::int64_t begin, std::int64_t end, std::int64_t step) {
  check(static_cast<bool>(x), "[slice] x is not a value");
  return make_node(kSlice, {x},
                   {{"axis", std::int64_t{normalize_axis("slice", axis, x.shape())}},
                    {"begin", begin},
                    {"end", end},
                    {"step", step}});
}
Value place(Value x, int axis, std::int64_t begin, std::int64_t size, std::int64_t step) {
  check(static_cast<bool>(x), "[place] x is not a value");
  return make_node(kPlace, {x},
                   {{"axis", std::int64_t{normalize_axis("place", axis, x.shape())}},
                    {"begin", begin},
                    {"size", size},
                    {"step", step}});
}
Value pad(Value x, int axis, std::int64_t before, std::int64_t after) {
  check(static_cast<bool>(x), "[pad] x is not a value");
  const int a = normalize_axis("pad", axis, x.shape());
  check(before >= 0 && after >= 0, "[pad] widths must not be negative");
  check(!x.shape()[a].is_symbolic(), "[pad] axis ", a, " of ", x.type(), " is the batch");
  return place(x, a, before, before + x.shape()[a].value() + after);
}

}  // namespace ops
}  // namespace tessera
