// What a graph of others can ask for: too many operands, sizes and strides that overflow, memory
// and work out of all proportion. Each is refused in one line, or done without harm.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/compile.h"
#include "core/interpret.h"
#include "core/program.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "ops/norm/norm.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/pool/pool.h"
#include "ops/sparse/sparse.h"
#include "tests/error_of.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

using testing::error_of;

// An op with `count` operands behind its own, and a program that adds the first and the last.
struct Carrier {
  const OpDef* op;
  std::string attr;
  std::vector<TensorType> own;
  Attrs attrs;
};
std::vector<Carrier> carriers() {
  const TensorType image = f32({2, 3, 4, 4});
  return {{&kMatmul, "epilogue", {f32({2, 3}), f32({3, 4})}, {}},
          {&kConv2d, "epilogue", {image, f32({3, 3, 1, 1})}, {}},
          {&kChannelProducts, "prologue", {image, image, f32({3})}, {}},
          {&kFused, "program", {f32({2, 3})}, {}}};
}
Graph carrying(const Carrier& carrier, int count, bool absent = false) {
  Graph graph(ops::standard_ops());
  std::vector<Value> inputs;
  for (const TensorType& type : carrier.own)
    inputs.push_back(graph.input(cat("own", inputs.size()), type));
  for (int i = 0; i < count; ++i) inputs.push_back(graph.input(cat("more", i), f32({})));
  if (absent) inputs[carrier.own.size()] = Value();
  Attrs attrs = carrier.attrs;
  attrs.set(carrier.attr,
            ProgramRef(parse_program(graph.ops(), cat("t0=add(a0,a", count, ")->t0"))));
  const Node& node = graph.add(*carrier.op, inputs, attrs);
  graph.set_output("y", node.output());
  return graph;
}

TEST(Limits, OperandsOfProgramsAreCounted) {
  for (const Carrier& carrier : carriers()) {
    SCOPED_TRACE(carrier.op->name);
    // Operand 0 is the op's own value.
    for (const int count : {kMaxProgramOperands, kMaxProgramOperands + 1, 1000}) {
      // Those that the program does not read are operands all the same.
      Carrier some = carrier;
      const std::string error = error_of([&] {
        Graph graph(ops::standard_ops());
        std::vector<Value> inputs;
        for (const TensorType& type : some.own)
          inputs.push_back(graph.input(cat("own", inputs.size()), type));
        for (int i = 0; i < count; ++i) inputs.push_back(graph.input(cat("more", i), f32({})));
        some.attrs.set(some.attr, sample_program("t0=tanh(a0)->t0"));
        graph.add(*some.op, inputs, some.attrs);
      });
      EXPECT_NE(error.find(cat("at most ", kMaxProgramOperands, " operands")), error.npos) << error;
    }
    const Graph graph = carrying(carrier, kMaxProgramOperands - 1);
    for (const CpuFeatures features : {active_features(), kScalar}) {
      const Plan plan = compile(graph, {.features = features});
      RunContext context = plan.context();
      for (const Node* input : graph.inputs())
        context.bind(input->name(), Tensor::full(input->types()[0].shape, 1));
      EXPECT_NO_THROW(context.run());
    }
  }
}

TEST(Limits, OperandsOfProgramsAreThere) {
  for (const Carrier& carrier : carriers()) {
    const std::string error = error_of([&] { carrying(carrier, 2, /*absent=*/true); });
    EXPECT_NE(error.find("missing"), error.npos) << carrier.op->name << ": " << error;
  }
}

TEST(Limits, ProgramsAreShort) {
  const OpSet& ops = ops::standard_ops();
  std::string lines = "t0=tanh(a0)";
  for (int i = 1; i <= kMaxProgramInstructions; ++i) lines += cat(";t", i, "=tanh(t", i - 1, ")");
  EXPECT_NE(error_of([&] { parse_program(ops, lines + "->t0"); }).find("instructions"),
            std::string::npos);
  std::string results = "t0=tanh(a0)->t0";
  for (int i = 0; i < kMaxProgramOperands; ++i) results += ",t0";
  EXPECT_NE(error_of([&] { parse_program(ops, results); }).find("results"), std::string::npos);
  EXPECT_NE(error_of([&] {
              parse_program(ops, cat("t0=tanh(a", kMaxProgramOperands, ")->t0"));
            }).find("an index below"),
            std::string::npos);
}

TEST(Limits, SizesOfValues) {
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  Graph graph(ops::standard_ops());
  for (const Shape& shape :
       {Shape{kHuge, 2}, Shape{-1}, Shape{kMaxDim + 1}, Shape{0, kMaxDim, kMaxDim, kMaxDim},
        Shape{Dim::symbolic(kHuge)}, Shape(std::vector<Dim>(kMaxRank + 1, Dim(1)))}) {
    EXPECT_THROW(graph.input("x", {DType::f32, shape, {}}), Error) << shape.text();
    EXPECT_THROW(graph.constant(1, {DType::f32, shape, {}}), Error) << shape.text();
  }
  // The result of an op whose operands are small.
  const Value a = graph.input("a", f32({kMaxDim, 1})), b = graph.input("b", f32({1, kMaxDim}));
  EXPECT_THROW(a + b, Error);
  // Attributes, and what they are multiplied with.
  EXPECT_THROW(
      graph.add(kPlace, {a},
                {{"axis", std::int64_t{1}}, {"begin", kHuge}, {"size", kHuge}, {"step", kHuge}}),
      Error);
  EXPECT_THROW(Dim::symbolic(1 << 20).bind(kHuge), Error);
  EXPECT_THROW(strides_of(std::vector<std::int64_t>{0, kHuge, kHuge}), Error);
  EXPECT_THROW(specialize(
                   [] {
                     Graph g(ops::standard_ops());
                     g.set_output("y", ops::tanh(g.input("x", f32({kBatch, 1 << 20}))));
                     return g;
                   }(),
                   std::int64_t{1} << 33),
               Error);
}

TEST(Limits, ConstantsAreWhatTheirTypeHolds) {
  Graph graph(ops::standard_ops());
  EXPECT_THROW(graph.constant(256, {DType::u8, {2}, {}}), Error);
  EXPECT_THROW(graph.constant(0.5, {DType::s32, {2}, {}}), Error);
  EXPECT_THROW(graph.constant(std::nan(""), {DType::s64, {2}, {}}), Error);
  EXPECT_NO_THROW(graph.constant(-128, {DType::s8, {2}, {}}));
  EXPECT_NO_THROW(graph.constant(std::nan(""), f32({2})));
}

// Rows of generated code cannot step over 2 GiB: another row computes the same.
TEST(Limits, StridesOfConvolutionsBeyond32Bits) {
  struct Case {
    Shape x, w;
    Ints stride, padding, dilation;
    std::int64_t groups = 1;
  };
  constexpr std::int64_t kFar = 1 << 20;
  const Case cases[] = {
      {{16, 2, 1, 32}, {1, 2, 2, 1}, {1, 1}, {kFar, 0, 0, 0}, {kFar, 1}},
      {{16, 2, 3, 32}, {3, 2, 2, 2}, {1, 1}, {kFar, 0, 0, 0}, {kFar, 1}},
      {{16, 2, 2, 64}, {3, 2, 1, 1}, {kFar, 1}, {0, 0, 0, 0}, {1, 1}},
      {{1, 16, 3, 200}, {16, 1, 3, 3}, {kFar, 1}, {1, 1, 1, 1}, {1, 1}, 16},
      {{1, 32, 3, 40}, {32, 32, 2, 2}, {1, 1}, {kFar, 0, 0, 0}, {kFar, 1}},
  };
  Rng rng(3, 3);
  for (const Case& c : cases) {
    Sample sample{{{{DType::f32, c.x, {}}}, {{DType::f32, c.w, {}}}},
                  {{"stride", c.stride},
                   {"padding", c.padding},
                   {"dilation", c.dilation},
                   {"groups", c.groups}}};
    const ConvGeometry g = conv_geometry(sample.attrs, c.x, c.w);
    const Shape y{g.n, g.out, g.oh, g.ow};
    for (const OpDef* op : {&kConv2d, &kConv2dGradInput, &kConv2dGradWeight}) {
      SCOPED_TRACE(cat(op->name, " ", c.x.text(), " ", c.w.text()));
      if (op != &kConv2d) {
        sample.inputs[0].type.shape = y;
        sample.inputs[1].type.shape = op == &kConv2dGradInput ? c.w : c.x;
        sample.attrs.set("shape", op == &kConv2dGradInput ? c.x : c.w);
      }
      const test::Case made = test::make_case(*op, sample, rng);
      const auto want = made.reference();
      for (const KernelRow& row : op->rows) {
        if (!test::runs_here(row)) continue;
        const test::RowRun run = test::run_row(made, row);
        if (!run.refusal.empty()) continue;
        for (std::int64_t i = 0; i < want[0].numel(); ++i)
          ASSERT_NEAR(element(run.outputs[0], i), want[0].v[static_cast<std::size_t>(i)], 1e-3)
              << row.name;
      }
    }
  }
}

TEST(Limits, ConvolutionsOfNothing) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({0, 3, 4, 4})), w = graph.input("w", f32({2, 3, 1, 1}));
  EXPECT_NE(error_of([&] { ops::conv2d(x, w, {}); }).find("is empty"), std::string::npos);
}

TEST(Limits, GradientsOfCodebooks) {
  const auto add = [](const Shape& shape, const CodebookFormat& format) {
    Graph graph(ops::standard_ops());
    Attrs attrs = codebook_attrs(format, shape);
    attrs.set("entries", std::int64_t{3});
    const Value dw = graph.input("dw", {DType::f32, shape, {}});
    const Value indices = graph.input("i", {DType::u8, format.indices_shape(shape), {}});
    graph.set_output("y", graph.add(kCodebookEntriesGrad, {dw, indices, Value()}, attrs).output());
    return graph;
  };
  EXPECT_NE(error_of([&] {
              add({4, 6}, {.bits = 2, .scale_block = 2});
            }).find("scale is missing"),
            std::string::npos);
  const Graph none = add({0, 25}, {.bits = 8, .group_rows = 1000});
  const auto out =
      compile(none).run({{"dw", Tensor(DType::f32, {0, 25})}, {"i", Tensor(DType::u8, {0})}});
  EXPECT_EQ(out.at("y").shape(), (Shape{0, 3}));
}

// Tables of as many groups as there are rows are filled one at a time.
TEST(Limits, TablesOfManyGroups) {
  constexpr std::int64_t kRows = 20000, kCols = 3;
  for (const bool transposed : {false, true}) {
    Graph graph(ops::standard_ops());
    State state;
    Rng rng(5, 5);
    const CodebookFormat format{.bits = 8, .group_rows = 1};
    const Shape shape{kRows, kCols};
    Tensor indices(DType::u8, format.indices_shape(shape));
    for (auto& byte : indices.span<std::uint8_t>()) byte = static_cast<std::uint8_t>(rng.below(2));
    Tensor entries(DType::f32, format.entries_shape(shape, 2));
    for (float& v : entries.span<float>()) v = rng.uniform(-1, 1);
    state.set("i", indices);
    state.set("e", entries);
    const Value w =
        ops::codebook(graph.param("i", {DType::u8, indices.shape(), {}}),
                      graph.param("e", {DType::f32, entries.shape(), {}}), {}, format, shape);
    const std::int64_t k = transposed ? kRows : kCols;
    graph.set_output("y", ops::matmul(graph.input("x", f32({1, k})), w, false, !transposed));
    const Plan plan = compile(graph, state, {});
    // Two bytes of indices and entries for each of the 1,024 of a table.
    EXPECT_LT(plan.memory().scratch + plan.memory().persistent, 4 << 20);
    Tensor x(DType::f32, {1, k});
    for (float& v : x.span<float>()) v = rng.uniform(-1, 1);
    const Tensor got = plan.run({{"x", x}}).at("y");
    std::vector<double> want(static_cast<std::size_t>(got.numel()));
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t c = 0; c < kCols; ++c) {
        const double v =
            element(entries, 2 * r + static_cast<std::int64_t>(element(indices, r * kCols + c)));
        want[static_cast<std::size_t>(transposed ? c : r)] += v * element(x, transposed ? r : c);
      }
    }
    for (std::int64_t i = 0; i < got.numel(); ++i)
      ASSERT_NEAR(element(got, i), want[static_cast<std::size_t>(i)], 1e-3) << i;
  }
}

// A row that asks for memory out of proportion gives way to the next.
TEST(Limits, ScratchInProportion) {
  const auto serves = [](const KernelQuery&) { return std::string(); };
  static const KernelRow rows[] = {{"greedy", kScalar, serves,
                                    [](const KernelQuery&) {
                                      KernelPlan plan;
                                      plan.run = [](const KernelArgs&) {};
                                      plan.scratch_bytes = std::int64_t{1} << 40;
                                      return plan;
                                    }},
                                   {"modest", kScalar, serves, [](const KernelQuery&) {
                                      KernelPlan plan;
                                      plan.run = [](const KernelArgs&) {};
                                      return plan;
                                    }}};
  static const OpDef op{
      .name = "hungry",
      .doc = "x",
      .inputs = {{"x"}},
      .infer = [](const InferArgs& args) { return std::vector<TensorType>{args.in(0)}; },
      .rows = rows};
  OpSet ops = ops::standard_ops();
  ops.add(op);
  Graph graph(ops);
  graph.set_output("y", graph.add(op, {graph.input("x", f32({4}))}).output());
  const Plan plan = compile(graph);
  ASSERT_EQ(plan.steps().size(), 1u);
  EXPECT_EQ(plan.steps()[0].kernel, "modest");
  EXPECT_EQ(plan.memory().scratch, 0);
}

TEST(Limits, ReferenceKnowsItsWork) {
  const auto with = [](const auto& build) {
    Graph graph(ops::standard_ops());
    graph.set_output("y", build(graph));
    return graph;
  };
  const auto refused = [](const Graph& graph, const InterpretLimits& limits) {
    RefMap leaves;
    for (const Node* node : graph.inputs())
      leaves[node->name()] = {
          node->types()[0],
          std::vector<double>(static_cast<std::size_t>(node->types()[0].shape.numel()))};
    return error_of([&] { interpret(graph, leaves, {graph.output("y")}, limits); });
  };
  const Graph product = with([](Graph& g) {
    return ops::matmul(g.input("a", f32({40, 500})), g.input("b", f32({500, 60})));
  });
  EXPECT_EQ(refused(product, {.operations = 2e6}), "no error");
  EXPECT_NE(refused(product, {.operations = 1e6}).find("operations"), std::string::npos);
  EXPECT_NE(refused(product, {.elements = 50000}).find("bytes"), std::string::npos);
  const Graph conv = with([](Graph& g) {
    return ops::conv2d(g.input("x", f32({1, 8, 20, 20})), g.input("w", f32({8, 8, 5, 5})), {});
  });
  EXPECT_NE(refused(conv, {.operations = 4e5}).find("operations"), std::string::npos);
  // It has no reference of its own: what it is made of counts, a product of 100 x 1000 x 200.
  const Graph sparse = with([](Graph& g) {
    const Value positions = g.input("positions", {DType::u8, {2}, {}});
    return make_node(kSparseMatmul,
                     {g.input("x", f32({100, 1000})), positions, g.input("v", f32({2}))},
                     {{"shape", Shape{200, 1000}}, {"transpose_b", true}});
  });
  EXPECT_EQ(refused(sparse, {.operations = 3e7}), "no error");
  EXPECT_NE(refused(sparse, {.operations = 1e7}).find("operations"), std::string::npos);
}

// Only the part of a window that lies in the image costs anything.
TEST(Limits, WindowsBeyondTheImage) {
  constexpr std::int64_t kFar = 1 << 20;
  for (const OpDef* op : {&kMaxPool2d, &kAvgPool2d}) {
    Graph graph(ops::standard_ops());
    const Value x = graph.input("x", f32({1, 2, 5, 6}));
    Attrs attrs{{"kernel", Ints{kFar, kFar}},
                {"stride", Ints{1, 1}},
                {"padding", Ints{kFar - 1, kFar - 1, 3, 3}}};
    if (op == &kAvgPool2d) attrs.set("count_pad", false);
    const Node& node = graph.add(*op, {x}, attrs);
    RefTensor value{node.input(0).type(), std::vector<double>(60, 2)};
    const auto out = interpret_node(node, {&value});
    ASSERT_GT(out[0].numel(), 0);
    for (const double v : out[0].v) EXPECT_DOUBLE_EQ(v, 2);
    EXPECT_LT(op->work(node), 1e5);
  }
}

// Layouts are selection's: a graph that comes with one is refused before rules meet it.
TEST(Limits, LayoutsOfOthers) {
  Graph graph(ops::standard_ops());
  const Node& node = graph.add(kSlice, {graph.constant(1, f32({4, 3, 2, 5}))},
                               {{"axis", std::int64_t{1}},
                                {"begin", std::int64_t{0}},
                                {"end", std::int64_t{2}},
                                {"layout", std::string("nChw16c")}});
  graph.set_output("y", ops::tanh(ops::decode(node.output())));
  EXPECT_NE(error_of([&] { compile(graph); }).find("before kernels are chosen"), std::string::npos);
}

// A cluster that gives more results than the one its readers can make again is not dropped.
TEST(Limits, ResultsInsideRecomputedClusters) {
  Graph graph(ops::standard_ops());
  const Value condition = graph.input("c", f32({6, 1, 2, 1})), w = graph.param("w", f32({3, 1, 5}));
  const Value inner = ops::where(condition, graph.constant(-1), w);
  const Value both = inner + inner, zero = graph.constant(0);
  graph.set_output("inner", inner);
  graph.set_output("a", ops::sum(ops::where(condition, both, zero)));
  graph.set_output("b", ops::sum(ops::where(condition, zero, both)));
  State state;
  state.set("w", Tensor::full({3, 1, 5}, 3));
  const auto out = compile(graph, state, {}).run({{"c", Tensor::full({6, 1, 2, 1}, 0)}});
  EXPECT_EQ(out.at("inner").span<float>()[0], 3.0f);
  EXPECT_EQ(out.at("b").item(), 6.0f * 180);
}

}  // namespace
}  // namespace tessera
