// sparse: w[position(j)] = values[j], zero elsewhere; f32 of the given shape.
// d values[j] = dW[position(j)], which is the op sparse_values_grad. Nothing is added up.
#include "ops/sparse/sparse.h"

#include "core/tensor.h"
#include "ops/codebook/codebook.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/sparse/positions.h"
#include "ops/sparse/sample.h"

namespace tessera {

namespace {

std::vector<TensorType> infer_sparse(const InferArgs& args) {
  const Shape& shape = args.attrs.shape("shape");
  require_sparse(args, 0, 1, shape);
  return {{DType::f32, shape, {}}};
}

std::vector<std::int64_t> positions_of(const RefTensor& stream, std::int64_t count,
                                       std::int64_t numel) {
  const std::vector<std::uint8_t> bytes(stream.v.begin(), stream.v.end());
  return decode_positions(bytes, count, numel);
}

void ref_sparse(const RefArgs& args) {
  const auto& values = args.in(1).v;
  const auto at = positions_of(args.in(0), args.in(1).numel(), args.out().numel());
  for (std::size_t j = 0; j < values.size(); ++j)
    args.out().v[static_cast<std::size_t>(at[j])] = values[j];
}

std::vector<Value> grad_sparse(const GradArgs& args) {
  std::vector<Value> out(2);
  if (args.wants(1)) {
    out[1] = make_node(kSparseValuesGrad, {args.grad(), args.in(0)},
                       {{"count", args.in(1).shape()[0].value()}});
  }
  return out;
}

std::vector<TensorType> infer_values_grad(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  args.require(!args.shape(0).is_symbolic(), "expected a gradient of fixed shape, got ",
               args.in(0));
  require_positions(args, 1);
  const std::int64_t count = args.attrs.integer("count");
  args.require(count >= 1 && count <= args.shape(0).numel(), "count must be 1 to ",
               args.shape(0).numel(), ", got ", count);
  return {{DType::f32, {count}, {}}};
}

void ref_values_grad(const RefArgs& args) {
  const auto at = positions_of(args.in(1), args.out().numel(), args.in(0).numel());
  for (std::size_t j = 0; j < at.size(); ++j)
    args.out().v[j] = args.in(0).v[static_cast<std::size_t>(at[j])];
}

constexpr int kSampleShapes = 4;
Shape sample_shape_of(int index) {
  const Shape shapes[kSampleShapes] = {{1}, {5, 9}, {3, 2, 3, 3}, {7, 901}};
  return shapes[index];
}

std::optional<Sample> sample_sparse(Rng& rng, int index) {
  if (index >= kSampleShapes) return std::nullopt;
  const Shape shape = sample_shape_of(index);
  Sample out;
  out.inputs = sample_planes(rng, shape, index == 1 ? 1.0 : 0.02);
  out.attrs = {{"shape", shape}};
  return out;
}

std::optional<Sample> sample_values_grad(Rng& rng, int index) {
  auto out = sample_sparse(rng, index);
  if (!out) return out;
  out->attrs = {{"count", out->inputs[1].type.shape[0].value()}};
  out->inputs = {{{DType::f32, sample_shape_of(index), {}}}, out->inputs[0]};
  return out;
}

}  // namespace

void require_positions(const InferArgs& args, int i) {
  args.require(
      args.in(i).dtype == DType::u8 && args.shape(i).rank() == 1 && !args.shape(i).is_symbolic(),
      "expected positions u8[bytes], got ", args.in(i));
}

void require_sparse(const InferArgs& args, int positions, int values, const Shape& shape) {
  require_positions(args, positions);
  const TensorType& type = args.in(values);
  args.require(type.dtype == DType::f32 && type.encoding.is_dense() && type.shape.rank() == 1 &&
                   !type.shape.is_symbolic(),
               "expected values f32[n], got ", type);
  args.require(
      !shape.is_symbolic() && type.shape.numel() >= 1 && type.shape.numel() <= shape.numel(),
      type.shape.numel(), " values for a tensor ", shape);
}

std::vector<SampleInput> sample_planes(Rng& rng, const Shape& shape, double share) {
  std::vector<std::int64_t> at;
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    if (rng.uniform() < share) at.push_back(i);
  }
  if (at.empty()) at.push_back(shape.numel() - 1);
  const auto stream = encode_positions(at);
  return {{{DType::u8, {static_cast<std::int64_t>(stream.size())}, {}},
           0,
           0,
           {stream.begin(), stream.end()}},
          {{DType::f32, {static_cast<std::int64_t>(at.size())}, {}}}};
}

CorrectedWeight corrected_weight(const Node& node) {
  if (&node.op() != &kAdd) return {};
  const Value a = node.input(0), b = node.input(1);
  for (const auto& [codebook, sparse] : {std::pair(a, b), std::pair(b, a)}) {
    if (&codebook.node->op() == &kCodebook && &sparse.node->op() == &kSparse &&
        codebook.shape() == sparse.shape())
      return {codebook.node, sparse.node};
  }
  return {};
}

void check_sparse_planes(const Node& node, std::span<const Tensor* const> planes) {
  const Tensor &stream = *planes[0], &values = *planes[1];
  PositionReader reader(stream.span<std::uint8_t>().data(), stream.numel(),
                        node.types()[0].shape.numel());
  for (std::int64_t j = 0; j < values.numel(); ++j) reader.next();
  reader.finish();
}

const OpDef kSparse{.name = "sparse",
                    .doc = "w[position(j)] = values[j], zero elsewhere",
                    .inputs = {{.name = "positions", .differentiable = false}, {.name = "values"}},
                    .attrs = {{"shape", AttrKind::shape, {}}},
                    .traits = kStorage,
                    .infer = infer_sparse,
                    .grad = grad_sparse,
                    .ref = ref_sparse,
                    .check_planes = check_sparse_planes,
                    .sample = sample_sparse,
                    .rows = sparse_rows()};

const OpDef kSparseValuesGrad{.name = "sparse_values_grad",
                              .doc = "d values[j] = dW[position(j)]",
                              .inputs = {{.name = "dw", .differentiable = false},
                                         {.name = "positions", .differentiable = false}},
                              .attrs = {{"count", AttrKind::integer, {}}},
                              .infer = infer_values_grad,
                              .ref = ref_values_grad,
                              .sample = sample_values_grad,
                              .rows = sparse_values_grad_rows()};

namespace ops {

Value sparse(Value positions, Value values, const Shape& shape) {
  return make_node(kSparse, {positions, values}, {{"shape", shape}});
}

}  // namespace ops
}  // namespace tessera
