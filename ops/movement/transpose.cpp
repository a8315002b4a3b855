// transpose {perm}: axis i of the result is axis perm[i] of x; a strided copy.
#include "ops/movement/copy.h"
#include "ops/movement/movement.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

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
               args.in(0));
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

}  // namespace

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

namespace ops {

Value transpose(Value x, const Ints& perm) {
  check(static_cast<bool>(x), "[transpose] x is not a value");
  Ints full = perm;
  if (perm.empty()) {
    for (int i = x.shape().rank(); i-- > 0;) full.push_back(i);
  }
  return make_node(kTranspose, {x}, {{"perm", full}});
}

}  // namespace ops
}  // namespace tessera
