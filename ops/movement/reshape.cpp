// reshape {shape}: the same elements in order; shares the buffer (kView).
#include "ops/movement/copy.h"
#include "ops/movement/movement.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

std::vector<TensorType> infer_reshape(const InferArgs& args) {
  const Shape& shape = args.attrs.shape("shape");
  args.require(shape.numel_dim() == args.shape(0).numel_dim(), "cannot reshape ", args.in(0),
               " to ", shape);
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

namespace ops {

Value reshape(Value x, const Shape& shape) {
  if (x && x.shape() == shape) return x;
  return make_node(kReshape, {x}, {{"shape", shape}});
}

}  // namespace ops
}  // namespace tessera
