// Movement: elements change place, never value; any dtype.
//   reshape {shape}                 same elements in order; shares the buffer (kView)
//   transpose {perm}                out axis i is x axis perm[i]
//   slice {axis, begin, end, step}  x[begin:end:step] along axis
//   concat {axis}                   inputs one after the other along axis
//   place {axis, begin, size, step} zeros of `size` along axis with x at begin, begin + step, ...;
//                                   the gradient of slice, whose gradient is slice
// All but reshape are strided copies (copy.h).
#include "ops/layout/layout.h"
#include "ops/movement/blocked.h"
#include "ops/movement/copy.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

int axis_of(const Attrs& attrs, const Shape& shape, std::string_view op) {
  return normalize_axis(op, attrs.integer("axis"), shape);
}

// Strides of a row-major tensor.
std::vector<std::int64_t> strides(const Shape& shape) {
  return strides_of(shape.values());
}

std::optional<DType> sample_dtype(int index) {
  // f32 mostly: gradients are checked for it only.
  constexpr DType dtypes[] = {DType::f32, DType::f32, DType::s32, DType::f32,
                              DType::u8,  DType::f32, DType::s64, DType::f32};
  return index < kSamples ? std::optional(dtypes[index]) : std::nullopt;
}

SampleInput sample_x(DType dtype, const Shape& shape) {
  if (dtype == DType::f32) return {{dtype, shape, {}}};
  SampleInput input{{dtype, shape, {}}};
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    input.values.push_back(static_cast<double>(i % 100));
  }
  return input;
}

// ---- reshape ----

std::vector<TensorType> infer_reshape(const InferArgs& args) {
  const Shape& shape = args.attrs.shape("shape");
  args.require(shape.numel_dim() == args.shape(0).numel_dim(), "cannot reshape ", args.in(0).text(),
               " to ", shape.text());
  return {{args.in(0).dtype, shape, {}}};
}
std::vector<Value> grad_reshape(const GradArgs& args) {
  return {ops::reshape(args.grad(), args.in(0).shape())};
}
void ref_reshape(const RefArgs& args) {
  args.out().v = args.in(0).v;
}

std::optional<Sample> sample_reshape(Rng& rng, int index) {
  const auto dtype = sample_dtype(index);
  if (!dtype) return std::nullopt;
  const Shape shape = sample_shape(rng, index);
  return Sample{{sample_x(*dtype, shape)}, {{"shape", Shape{1, shape.numel()}}}};
}

KernelPlan prepare_reshape(const KernelQuery& query) {
  const TensorType& type = query.node.types()[0];
  const std::int64_t n = type.shape.numel();
  return plan_copies({StridedCopy{{{n}, {{1}, {1}}}, size_of(type.dtype)}});
}
constexpr KernelRow kReshapeRows[] = {{"copy", kScalar, refuses_encoded, prepare_reshape}, kRefRow};

// ---- transpose ----

std::vector<TensorType> infer_transpose(const InferArgs& args) {
  const Ints& perm = args.attrs.integers("perm");
  const Shape& shape = args.shape(0);
  Ints sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  bool valid = static_cast<int>(perm.size()) == shape.rank();
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    valid = valid && sorted[i] == static_cast<std::int64_t>(i);
  }
  args.require(valid, "perm ", attr_text(perm), " is not a permutation of the axes of ",
               args.in(0).text());
  Shape out;
  for (const auto axis : perm) out.push_back(shape[static_cast<int>(axis)]);
  return {{args.in(0).dtype, out, {}}};
}

std::vector<Value> grad_transpose(const GradArgs& args) {
  const Ints& perm = args.node.attrs().integers("perm");
  Ints inverse(perm.size());
  for (std::size_t i = 0; i < perm.size(); ++i) {
    inverse[static_cast<std::size_t>(perm[i])] = static_cast<std::int64_t>(i);
  }
  return {ops::transpose(args.grad(), inverse)};
}

std::vector<std::int64_t> permuted_strides(const Shape& shape, const Ints& perm) {
  const auto all = strides(shape);
  std::vector<std::int64_t> out;
  for (const auto axis : perm) out.push_back(all[static_cast<std::size_t>(axis)]);
  return out;
}

void ref_transpose(const RefArgs& args) {
  const auto from = permuted_strides(args.in(0).type.shape, args.node.attrs().integers("perm"));
  const auto dims = args.out().type.shape.values();
  for (std::int64_t e = 0; e < args.out().numel(); ++e) {
    std::int64_t rest = e, at = 0;
    for (std::size_t d = dims.size(); d-- > 0;) {
      at += rest % dims[d] * from[d];
      rest /= dims[d];
    }
    args.out().v[static_cast<std::size_t>(e)] = args.in(0).v[static_cast<std::size_t>(at)];
  }
}

std::optional<Sample> sample_transpose(Rng& rng, int index) {
  const auto dtype = sample_dtype(index);
  if (!dtype) return std::nullopt;
  const Shape shape = index == 3 ? Shape{37, 3, 41} : sample_shape(rng, index);
  Ints perm;
  for (int i = 0; i < shape.rank(); ++i) perm.push_back(i);
  if (index == 3) {
    perm = {2, 0, 1};
  } else if (index == 5) {
    perm = {0, 2, 1, 3};
  } else {
    std::reverse(perm.begin(), perm.end());
  }
  return Sample{{sample_x(*dtype, shape)}, {{"perm", perm}}};
}

KernelPlan prepare_transpose(const KernelQuery& query) {
  const TensorType& out = query.node.types()[0];
  return plan_copies({StridedCopy{
      {out.shape.values(),
       {permuted_strides(query.node.input(0).shape(), query.node.attrs().integers("perm")),
        strides(out.shape)}},
      size_of(out.dtype)}});
}
constexpr KernelRow kTransposeRows[] = {
    {"strided_copy", kScalar, refuses_encoded, prepare_transpose}, kRefRow};

// ---- slice and place: x along an axis in steps ----

std::vector<TensorType> infer_slice(const InferArgs& args) {
  const int axis = axis_of(args.attrs, args.shape(0), args.op.name);
  const std::int64_t begin = args.attrs.integer("begin"), end = args.attrs.integer("end");
  const std::int64_t step = args.attrs.integer("step");
  const Dim dim = args.shape(0)[axis];
  args.require(!dim.is_symbolic(), "axis ", axis, " of ", args.in(0).text(), " is the batch");
  args.require(step >= 1, "step must be 1 or more, got ", step);
  args.require(begin >= 0 && begin <= end && end <= dim.value(), "[", begin, ", ", end,
               ") is outside axis ", axis, " of ", args.in(0).text());
  Shape out = args.shape(0);
  out[axis] = (end - begin + step - 1) / step;
  return {in_layout(args, out, args.in(0).dtype)};
}

std::vector<TensorType> infer_place(const InferArgs& args) {
  const int axis = axis_of(args.attrs, args.shape(0), args.op.name);
  const std::int64_t begin = args.attrs.integer("begin"), size = args.attrs.integer("size");
  const std::int64_t step = args.attrs.integer("step");
  const Dim dim = args.shape(0)[axis];
  args.require(!dim.is_symbolic(), "axis ", axis, " of ", args.in(0).text(), " is the batch");
  args.require(step >= 1, "step must be 1 or more, got ", step);
  const std::int64_t last = begin + (dim.value() - 1) * step;
  args.require(begin >= 0 && (dim.value() == 0 || last < size) && size >= 0, args.in(0).text(),
               " from ", begin, " in steps of ", step, " does not fit ", size, " along axis ",
               axis);
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

// Calls fn(index in the short tensor, index in the long one): the long one has `size` along axis.
template <class Fn>
void for_each_placed(const Shape& small, int axis, std::int64_t size, const Attrs& attrs, Fn&& fn) {
  const std::int64_t begin = attrs.integer("begin"), step = attrs.integer("step");
  const std::int64_t n = small[axis].value(), inner = product(small, axis + 1, small.rank());
  for (std::int64_t e = 0; e < small.numel(); ++e) {
    const std::int64_t i = e % inner, j = e / inner % n, o = e / inner / n;
    fn(static_cast<std::size_t>(e),
       static_cast<std::size_t>((o * size + begin + j * step) * inner + i));
  }
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

// Images whose channels do not fill their last block, and steps across pixels.
constexpr int kImages = 2;
Shape sample_image() {
  return {2, 20, 6, 5};
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
  in_large[static_cast<std::size_t>(axis)] *= node.attrs().integer("step");
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
// A blocked operand stays so; in a concatenation the others follow.
std::string refuses_unblocked(const KernelQuery& query) {
  bool any = false;
  for (const Value v : query.node.inputs()) any = any || is_blocked(v.type());
  return any ? refuses_other_layouts(query) : "no operand is blocked";
}
KernelPlan plan_blocked(const Shape& out, std::vector<StridedCopy> copies, bool clear) {
  KernelPlan plan = plan_copies(std::move(copies), clear ? blocked_numel(out) * 4 : 0);
  plan.layout = kBlocked;
  return plan;
}
bool has_tail(const Shape& image) {
  return image[1].value() % kLayoutBlock != 0;
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

// ---- concat ----

std::vector<TensorType> infer_concat(const InferArgs& args) {
  args.require(!args.inputs.empty(), "needs an input");
  const int axis = axis_of(args.attrs, args.shape(0), args.op.name);
  Shape out = args.shape(0);
  std::int64_t total = 0;
  for (int i = 0; i < static_cast<int>(args.inputs.size()); ++i) {
    args.require(args.in(i).dtype == args.in(0).dtype && args.shape(i).rank() == out.rank(),
                 "cannot join ", args.in(0).text(), " and ", args.in(i).text());
    for (int d = 0; d < out.rank(); ++d) {
      args.require(d == axis || args.shape(i)[d] == out[d], "cannot join ", args.in(0).text(),
                   " and ", args.in(i).text(), " along axis ", axis);
    }
    args.require(!args.shape(i)[axis].is_symbolic(), "axis ", axis, " of ", args.in(i).text(),
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
    packs.push_back(is_blocked(type) ? std::nullopt : std::optional(to_blocked(type)));
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

const OpDef kReshape{.name = "reshape",
                     .doc = "the same elements in order under another shape",
                     .inputs = {{"x"}},
                     .attrs = {{"shape", AttrKind::shape, {}}},
                     .traits = kMovement | kView,
                     .infer = infer_reshape,
                     .grad = grad_reshape,
                     .ref = ref_reshape,
                     .sample = sample_reshape,
                     .rows = kReshapeRows};
const OpDef kTranspose{.name = "transpose",
                       .doc = "axis i of the result is axis perm[i] of x",
                       .inputs = {{"x"}},
                       .attrs = {{"perm", AttrKind::integers, {}}},
                       .traits = kMovement,
                       .infer = infer_transpose,
                       .grad = grad_transpose,
                       .ref = ref_transpose,
                       .sample = sample_transpose,
                       .rows = kTransposeRows};
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

Value reshape(Value x, const Shape& shape) {
  if (x && x.shape() == shape) return x;
  return make_node(kReshape, {x}, {{"shape", shape}});
}
Value transpose(Value x, const Ints& perm) {
  check(static_cast<bool>(x), "[transpose] x is not a value");
  Ints full = perm;
  if (perm.empty()) {
    for (int i = x.shape().rank(); i-- > 0;) full.push_back(i);
  }
  return make_node(kTranspose, {x}, {{"perm", full}});
}
Value slice(Value x, int axis, std::int64_t begin, std::int64_t end, std::int64_t step) {
  check(static_cast<bool>(x), "[slice] x is not a value");
  return make_node(kSlice, {x},
                   {{"axis", std::int64_t{normalize_axis("slice", axis, x.shape())}},
                    {"begin", begin},
                    {"end", end},
                    {"step", step}});
}
Value concat(const std::vector<Value>& xs, int axis) {
  check(!xs.empty() && xs[0], "[concat] needs a value");
  return make_node(kConcat, xs,
                   {{"axis", std::int64_t{normalize_axis("concat", axis, xs[0].shape())}}});
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
  check(!x.shape()[a].is_symbolic(), "[pad] axis ", a, " of ", x.type().text(), " is the batch");
  return place(x, a, before, before + x.shape()[a].value() + after);
}

}  // namespace ops
}  // namespace tessera
