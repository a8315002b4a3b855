// The linear ops on a sparse weight S.
// sparse_matmul: y[m,n] = sum_k a[m,k] op(S)[k,n], op = transpose when the flag is set; a [m,k].
// sparse_conv2d: conv2d(x, S) with conv2d's attributes.
// Each is defined by what it is made of: the same op on `sparse`, written out. Accumulator: f32 by
// fused multiply-add in the row-major order of S, one value after another, for any batch.
#include "ops/conv/conv.h"
#include "ops/matmul/matmul.h"
#include "ops/op_common.h"
#include "ops/sparse/sample.h"
#include "ops/sparse/sparse.h"

namespace tessera {

namespace {

std::vector<TensorType> infer_matmul(const InferArgs& args) {
  const Shape& s = args.attrs.shape("shape");
  args.require_dtype(0, DType::f32);
  args.require_rank(0, 2);
  args.require(s.rank() == 2, "expected a weight of rank 2, got ", s);
  require_sparse(args, 1, 2, s);
  const bool tb = args.attrs.boolean("transpose_b");
  args.require(args.shape(0)[1] == s[tb ? 1 : 0], "inner dimensions differ: ", args.in(0).text(),
               " and ", s.text(), tb ? " transposed" : "");
  return {{DType::f32, {args.shape(0)[0], s[tb ? 0 : 1]}, {}}};
}

std::vector<Value> decompose_matmul(const Node& node, std::span<const Value> in) {
  const Value weight = ops::sparse(in[1], in[2], node.attrs().shape("shape"));
  return {ops::matmul(in[0], weight, false, node.attrs().boolean("transpose_b"))};
}

std::optional<Sample> sample_matmul(Rng& rng, int index) {
  struct Case {
    std::int64_t m, n, k;
    double share;
  };
  // Single rows, fewer and more than a block of rows, nothing in most rows, everything.
  static constexpr Case kCases[] = {{1, 1, 1, 1},        {1, 30, 40, 0.05}, {3, 17, 33, 0.2},
                                    {5, 19, 7, 1},       {16, 40, 50, 0.1}, {37, 35, 61, 0.02},
                                    {2, 500, 300, 0.02}, {70, 9, 130, 0.3}};
  if (index >= static_cast<int>(std::size(kCases))) return std::nullopt;
  const Case& c = kCases[index];
  const bool tb = index % 3 != 2;
  const Shape weight = tb ? Shape{c.n, c.k} : Shape{c.k, c.n};
  Sample out;
  out.inputs = sample_planes(rng, weight, c.share);
  out.inputs.insert(out.inputs.begin(), SampleInput{f32({c.m, c.k})});
  out.attrs = {{"shape", weight}, {"transpose_b", tb}};
  return out;
}

Attrs conv_numbers(const Attrs& attrs) {
  return {{"stride", attrs.integers("stride")},
          {"dilation", attrs.integers("dilation")},
          {"padding", attrs.integers("padding")},
          {"groups", attrs.integer("groups")}};
}

// Checked as the convolution that it is part of.
std::vector<TensorType> infer_conv(const InferArgs& args) {
  const Shape& s = args.attrs.shape("shape");
  require_sparse(args, 1, 2, s);
  Attrs attrs = conv_numbers(args.attrs);
  attrs.set("epilogue", ProgramRef());
  attrs.set("layout", std::string());
  const TensorType types[] = {args.in(0), {DType::f32, s, {}}};
  const bool present[] = {true, true};
  return kConv2d.infer({args.ops, args.op, types, present, attrs});
}

std::vector<Value> decompose_conv(const Node& node, std::span<const Value> in) {
  const Value weight = ops::sparse(in[1], in[2], node.attrs().shape("shape"));
  return {make_node(kConv2d, {in[0], weight}, conv_numbers(node.attrs()))};
}

std::optional<Sample> sample_conv(Rng& rng, int index) {
  struct Case {
    Shape x, w;
    Ints stride = {1, 1}, padding = {0, 0, 0, 0}, dilation = {1, 1};
    std::int64_t groups = 1;
    double share = 0.1;
  };
  static const std::vector<Case> cases = {
      {{1, 1, 1, 1}, {1, 1, 1, 1}},
      {{2, 3, 7, 6}, {5, 3, 3, 3}, {1, 1}, {1, 1, 1, 1}},
      {{2, 1, 12, 12}, {20, 1, 5, 5}},
      {{1, 4, 9, 8}, {6, 2, 3, 2}, {2, 3}, {1, 0, 2, 1}, {1, 2}, 2, 0.5},
      {{2, 16, 6, 6}, {16, 1, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 16},
      {{1, 17, 5, 5}, {33, 17, 1, 1}, {2, 2}},
      {{1, 3, 11, 11}, {16, 3, 7, 7}, {2, 2}, {3, 3, 3, 3}, {1, 1}, 1, 0.02},
      {{17, 20, 2, 2}, {65, 20, 3, 3}, {1, 1}, {1, 1, 1, 1}},
      {{3, 8, 4, 20}, {8, 8, 1, 1}},
      {{1, 2, 3, 3}, {4, 2, 3, 3}, {1, 1}, {3, 3, 3, 3}, {2, 2}, 1, 1},
  };
  if (index >= static_cast<int>(cases.size())) return std::nullopt;
  const Case& c = cases[static_cast<std::size_t>(index)];
  Sample out;
  out.inputs = sample_planes(rng, c.w, c.share);
  out.inputs.insert(out.inputs.begin(), SampleInput{{DType::f32, c.x, {}}});
  out.attrs = {{"shape", c.w},
               {"stride", c.stride},
               {"dilation", c.dilation},
               {"padding", c.padding},
               {"groups", c.groups}};
  return out;
}

}  // namespace

const OpDef kSparseMatmul{
    .name = "sparse_matmul",
    .doc = "y[m,n] = sum_k a[m,k] S[k,n], S sparse",
    .inputs = {{.name = "a"},
               {.name = "positions", .differentiable = false, .encoded = true},
               {.name = "values"}},
    .attrs = {{"shape", AttrKind::shape, {}}, {"transpose_b", AttrKind::boolean, false}},
    .infer = infer_matmul,
    .decompose = decompose_matmul,
    .sample = sample_matmul,
    .rows = sparse_matmul_rows()};

const OpDef kSparseConv2d{
    .name = "sparse_conv2d",
    .doc = "conv2d of x with a sparse weight",
    .inputs = {{.name = "x"},
               {.name = "positions", .differentiable = false, .encoded = true},
               {.name = "values"}},
    .attrs = {{"shape", AttrKind::shape, {}},
              {"stride", AttrKind::integers, Ints{1, 1}},
              {"dilation", AttrKind::integers, Ints{1, 1}},
              {"padding", AttrKind::integers, Ints{0, 0, 0, 0}},
              {"groups", AttrKind::integer, std::int64_t{1}}},
    .infer = infer_conv,
    .decompose = decompose_conv,
    .sample = sample_conv,
    .rows = sparse_conv2d_rows()};

}  // namespace tessera
