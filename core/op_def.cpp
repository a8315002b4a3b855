#include "core/op_def.h"

#include <algorithm>
#include <cmath>

namespace tessera {

void InferArgs::require_rank(int i, int rank) const {
  require(shape(i).rank() == rank, "expected ", op.input_def(static_cast<std::size_t>(i)).name,
          " of rank ", rank, ", got ", in(i));
}

void InferArgs::require_dtype(int i, DType dtype) const {
  require(in(i).dtype == dtype, "expected ", op.input_def(static_cast<std::size_t>(i)).name, " of ",
          name(dtype), ", got ", in(i));
}

OpSet::OpSet(std::span<const OpDef* const> ops, const CoreOps& core) : core_(core) {
  for (const OpDef* op : {&kInput, &kParam, &kState, &kConstant}) add(*op);
  for (const OpDef* op : ops) add(*op);
  built_in_ = ops_.size();
}

bool OpSet::is_built_in(const OpDef& op) const {
  const auto end = ops_.begin() + static_cast<std::ptrdiff_t>(built_in_);
  return std::find(ops_.begin(), end, &op) != end;
}

const OpDef* OpSet::find(std::string_view name) const {
  const auto at =
      std::find_if(ops_.begin(), ops_.end(), [&](const OpDef* op) { return op->name == name; });
  return at == ops_.end() ? nullptr : *at;
}

void OpSet::add(const OpDef& op) {
  check(find(op.name) == nullptr, "an op named '", op.name, "' is already registered");
  ops_.push_back(&op);
}

namespace {

std::vector<TensorType> infer_leaf(const InferArgs&) {
  // Leaves are made by Graph::input, param and state, which know the type.
  fail("input, param and state need a name and a type");
}

// Whether a tensor of the dtype can hold the number; floating dtypes round.
bool holds(DType dtype, double value) {
  const auto in = [&](double low, double high) {
    return value >= low && value <= high && value == std::trunc(value);
  };
  switch (dtype) {
    case DType::s8:
      return in(-128, 127);
    case DType::u8:
      return in(0, 255);
    case DType::s32:
      return in(-2147483648.0, 2147483647.0);
    case DType::s64:
      return in(-9223372036854775808.0, 9223372036854774784.0);
    case DType::f32:
    case DType::bf16:
      break;
  }
  return true;
}

std::vector<TensorType> infer_constant(const InferArgs& args) {
  const DType dtype = args.attrs.get<DType>("dtype");
  args.require(holds(dtype, args.attrs.real("value")), name(dtype), " cannot hold ",
               args.attrs.real("value"));
  return {{args.attrs.get<DType>("dtype"), args.attrs.shape("shape"), {}}};
}

void ref_constant(const RefArgs& args) {
  std::fill(args.out().v.begin(), args.out().v.end(), args.node.attrs().real("value"));
}

}  // namespace

const OpDef kInput{
    .name = "input", .doc = "a value given at every run", .traits = kLeaf, .infer = infer_leaf};
const OpDef kParam{
    .name = "param", .doc = "trainable state, by name", .traits = kLeaf, .infer = infer_leaf};
const OpDef kState{.name = "state",
                   .doc = "state that is not trained, by name",
                   .traits = kLeaf,
                   .infer = infer_leaf};
const OpDef kConstant{.name = "constant",
                      .doc = "every element is value",
                      .attrs = {{"value", AttrKind::real, {}},
                                {"shape", AttrKind::shape, Shape()},
                                {"dtype", AttrKind::dtype, DType::f32}},
                      .traits = kLeaf,
                      .infer = infer_constant,
                      .ref = ref_constant};

std::optional<double> constant_value(Value value) {
  if (!value || &value.node->op() != &kConstant) return std::nullopt;
  return value.node->attrs().real("value");
}

}  // namespace tessera
