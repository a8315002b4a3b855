// matmul: y[m,n] = sum_k op(a)[m,k] op(b)[k,n], op = transpose when the flag is set.
// Shapes: a [m,k] or [k,m], b [k,n] or [n,k], y [m,n]; f32. b may be codebook storage in its
// logical order. With an epilogue, the product is input a0 of a Program and its results are the
// outputs; the program's other operands follow b and broadcast to [m,n]. Accumulator: f32 by fused
// multiply-add in ascending k (f64 in the reference).
#include "ops/matmul/matmul.h"

#include "ops/build.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/rows.h"

namespace tessera {

namespace {

std::vector<TensorType> infer(const InferArgs& args) {
  for (const int i : {0, 1}) {
    args.require_dtype(i, DType::f32);
    args.require_rank(i, 2);
  }
  const bool ta = args.attrs.boolean("transpose_a"), tb = args.attrs.boolean("transpose_b");
  const Dim m = args.shape(0)[ta ? 1 : 0], ka = args.shape(0)[ta ? 0 : 1];
  const Dim kb = args.shape(1)[tb ? 1 : 0], n = args.shape(1)[tb ? 0 : 1];
  args.require(ka == kb, "inner dimensions differ: ", args.in(0).text(), ta ? " transposed" : "",
               " and ", args.in(1).text(), tb ? " transposed" : "");
  const TensorType product{DType::f32, Shape{m, n}, {}};
  const auto program = carried_program(args, "epilogue", 2, product.shape);
  return std::vector<TensorType>(program ? program->outputs.size() : 1, product);
}

// With y = A B, A = op(a), B = op(b): dA = dy B^T, dB = A^T dy; transposed again where the operand
// was read transposed.
std::vector<Value> grad(const GradArgs& args) {
  const bool ta = args.node.attrs().boolean("transpose_a");
  const bool tb = args.node.attrs().boolean("transpose_b");
  const Value a = args.in(0), b = args.in(1), dy = args.grad();
  std::vector<Value> out(2);
  // A codebook operand stays on the right, where kernels read it.
  if (args.wants(0)) {
    out[0] = !ta ? ops::matmul(dy, b, false, !tb)
                 : ops::transpose(ops::matmul(dy, b, false, !tb), {1, 0});
  }
  if (args.wants(1)) {
    out[1] = tb ? ops::matmul(dy, a, true, ta) : ops::matmul(a, dy, !ta, false);
  }
  return out;
}

void ref(const RefArgs& args) {
  const Attrs& attrs = args.node.attrs();
  const bool ta = attrs.boolean("transpose_a"), tb = attrs.boolean("transpose_b");
  const RefTensor& a = args.in(0);
  const RefTensor& b = args.in(1);
  const Shape& shape = args.out().type.shape;
  const std::int64_t m = shape[0].value(), n = shape[1].value();
  const std::int64_t k = a.type.shape[ta ? 0 : 1].value();
  const auto at = [](const RefTensor& t, bool transposed, std::int64_t i, std::int64_t j) {
    const std::int64_t width = t.type.shape[1].value();
    return t.v[static_cast<std::size_t>(transposed ? j * width + i : i * width + j)];
  };
  RefTensor product{{DType::f32, args.out().type.shape, {}}, {}};
  product.v.reserve(static_cast<std::size_t>(m * n));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t q = 0; q < k; ++q) sum += at(a, ta, i, q) * at(b, tb, q, j);
      product.v.push_back(sum);
    }
  }
  finish_carried(args, "epilogue", 2, std::move(product));
}

double work(const Node& node) {
  const Shape& a = node.input(0).shape();
  const Shape& y = node.types()[0].shape;
  const double depth = static_cast<double>(a[node.attrs().boolean("transpose_a") ? 0 : 1].value());
  return static_cast<double>(y.numel()) * (depth + 1);
}

std::optional<Sample> sample(Rng& rng, int index) {
  static constexpr std::int64_t kSizes[] = {1, 2, 3, 7, 8, 13, 17, 33, 49};
  const auto size = [&] { return kSizes[rng.below(std::size(kSizes))]; };
  const bool ta = index & 1, tb = index & 2;
  // Few rows once, for the kernels that serve small batches.
  const std::int64_t m = index == 2 ? 5 : size(), n = size(), k = index == 5 ? 130 : size();
  Sample out;
  out.inputs = {{f32({ta ? k : m, ta ? m : k})}, {f32({tb ? n : k, tb ? k : n})}};
  out.attrs = {{"transpose_a", ta}, {"transpose_b", tb}};
  if (index >= 4) {
    // A fused bias and activation; not differentiable, so gradient tests take the other cases.
    out.attrs.set("epilogue", sample_program("t0=add(a0,a1);t1=tanh(t0);t2=mul(t1,a2)->t1,t2"));
    out.inputs.push_back({f32({n})});
    out.inputs.push_back({f32({m, n})});
  }
  return index < 8 ? std::optional(out) : std::nullopt;
}

}  // namespace

const OpDef kMatmul{.name = "matmul",
                    .doc = "y[m,n] = sum_k a[m,k] b[k,n], then an optional elementwise epilogue",
                    .inputs = {{.name = "a"},
                               {.name = "b", .encoded = true},
                               {.name = "epilogue operand", .optional = true, .variadic = true}},
                    .attrs = {{"transpose_a", AttrKind::boolean, false},
                              {"transpose_b", AttrKind::boolean, false},
                              {"epilogue", AttrKind::program, ProgramRef()}},
                    .traits = kEpilogue,
                    .infer = infer,
                    .grad = grad,
                    .ref = ref,
                    .work = work,
                    .sample = sample,
                    .rows = matmul_rows()};

namespace ops {

Value matmul(Value a, Value b, bool transpose_a, bool transpose_b) {
  return a.graph()
      .add(kMatmul, {a, b}, {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}})
      .output();
}

Value linear(Value x, Value weight, Value bias) {
  const Value y = matmul(x, weight, false, true);
  return bias ? add(y, bias) : y;
}

}  // namespace ops
}  // namespace tessera
