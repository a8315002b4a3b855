// Images through the compiler: layouts, what is computed again rather than stored, codebook
// kernels.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/interpret.h"
#include "core/plan_data.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"

namespace tessera {
namespace {

class Env {
 public:
  Env(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Env() { unsetenv(name_); }

 private:
  const char* name_;
};

Tensor random_tensor(const Shape& shape, std::uint64_t stream, float scale = 1) {
  Tensor t(DType::f32, shape);
  Rng rng(11, stream);
  for (float& v : t.span<float>()) v = scale * rng.uniform(-1, 1);
  return t;
}

// Two blocks of convolution, batch-norm and ReLU, a shortcut with padded channels, a pooled
// classifier; the gradients of all parameters are outputs. Channel counts leave short blocks.
struct Net {
  Graph graph{ops::standard_ops()};
  State state;
  static constexpr std::int64_t kBatchSize = 3;

  Value param(const std::string& name, const Shape& shape, float scale) {
    state.set(name, random_tensor(shape, stable_id(name), scale));
    return graph.param(name, {DType::f32, shape, {}});
  }
  Value block(Value x, const std::string& name, std::int64_t out, std::int64_t stride,
              std::int64_t kernel = 3, std::int64_t groups = 1) {
    const std::int64_t in = x.shape()[1].value() / groups, pad = kernel / 2;
    ops::Conv2dOptions options;
    options.stride = {stride, stride};
    options.padding = {pad, pad, pad, pad};
    options.groups = groups;
    const Value y =
        ops::conv2d(x, param(name + ".weight", {out, in, kernel, kernel}, 0.3f), options);
    return ops::batch_norm_train(y, param(name + ".gamma", {out}, 1),
                                 param(name + ".beta", {out}, 1))
        .y;
  }

  Net() {
    Value x = graph.input("x", f32({kBatch, 3, 12, 12}));
    x = ops::relu(block(x, "stem", 16, 1));
    const Value inner = ops::relu(block(x, "a", 20, 2));
    Value y = block(inner, "b", 20, 1);
    const Value shortcut = ops::pad(ops::slice(ops::slice(x, 2, 0, 12, 2), 3, 0, 12, 2), 1, 2, 2);
    y = ops::relu(y + shortcut);
    // An inverted bottleneck with a depthwise convolution.
    Value z = ops::clamp(block(y, "expand", 40, 1, 1), 0.0, 1.5);
    z = ops::clamp(block(z, "depthwise", 40, 1, 3, 40), 0.0, 1.5);
    y = block(z, "project", 20, 1, 1) + y;
    y = ops::max_pool2d(y);
    const Value logits = ops::linear(ops::global_avg_pool2d(y), param("fc", {5, 20}, 0.5f),
                                     param("fc.bias", {5}, 1));
    const Value loss = ops::mean(ops::square(logits));
    graph.set_output("loss", loss);
    std::vector<Value> parameters;
    for (const Node* node : graph.parameters()) parameters.push_back(node->output());
    const auto gradients = grad(loss, parameters);
    for (std::size_t i = 0; i < parameters.size(); ++i)
      graph.set_output("d " + parameters[i].node->name(), gradients[i]);
  }

  std::map<std::string, std::vector<double>> reference(const Tensor& x) const {
    const Graph bound = specialize(graph, kBatchSize);
    RefMap leaves;
    const auto put = [&](const std::string& name, const Tensor& t) {
      RefTensor r{{t.dtype(), t.shape(), {}}, {}};
      for (std::int64_t i = 0; i < t.numel(); ++i) r.v.push_back(element(t, i));
      leaves.emplace(name, std::move(r));
    };
    put("x", x);
    for (const auto& [name, entry] : state.entries()) put(name, entry.tensor);
    std::vector<Value> wanted;
    for (const auto& output : bound.outputs()) wanted.push_back(output.second);
    const auto values = interpret(bound, leaves, wanted);
    std::map<std::string, std::vector<double>> out;
    for (std::size_t i = 0; i < values.size(); ++i) out[bound.outputs()[i].first] = values[i].v;
    return out;
  }

  // Runs the compiled graph and compares every output: by its largest difference, or by direction.
  void expect_matches(const CompileOptions& options, double tolerance, double cosine = 0) {
    const Tensor x = random_tensor({kBatchSize, 3, 12, 12}, 99);
    CompileOptions all = options;
    all.batch = kBatchSize;
    const Plan plan = compile(graph, all);
    RunContext context = plan.context(state);
    context.bind("x", x);
    context.run();
    for (const auto& [name, want] : reference(x)) {
      const Tensor& got = context.output(name);
      double most = 0, error = 0, dot = 0, a2 = 0, b2 = 0;
      for (std::size_t i = 0; i < want.size(); ++i) {
        most = std::max(most, std::fabs(want[i]));
        const double value = element(got, static_cast<std::int64_t>(i));
        error = std::max(error, std::fabs(value - want[i]));
        dot += value * want[i];
        a2 += value * value;
        b2 += want[i] * want[i];
      }
      if (cosine > 0) {
        EXPECT_GE(dot, cosine * std::sqrt(a2 * b2)) << name;
        continue;
      }
      EXPECT_LE(error, tolerance * (most + 1e-3)) << name;
    }
  }
};

int count_kernels(const Plan& plan, std::string_view part) {
  return static_cast<int>(std::count_if(
      plan.steps().begin(), plan.steps().end(),
      [&](const StepInfo& step) { return step.kernel.find(part) != std::string::npos; }));
}

TEST(Images, TrainingGradientsMatchTheInterpreter) {
  Net().expect_matches({}, 2e-4);
}

TEST(Images, EveryPassAndInstructionSetGivesTheSame) {
  for (const char* pass : {"lower", "simplify", "fold", "fuse"}) {
    SCOPED_TRACE(pass);
    const Env skip("TESSERA_SKIP", pass);
    Net().expect_matches({}, 2e-4);
  }
  for (const CpuFeatures features : {kScalar, kAvx2}) {
    if (!active_features().includes(features)) continue;
    CompileOptions options;
    options.features = features;
    Net().expect_matches(options, 2e-4);
  }
}

TEST(Images, Bf16StaysClose) {
  CompileOptions options;
  options.bf16 = true;
  // Rounding flips some activations of this small batch; gradients keep their direction.
  Net().expect_matches(options, 0, 0.97);
}

TEST(Images, StayBlockedBetweenConvolutions) {
  if (!active_features().includes(kAvx512)) GTEST_SKIP() << "blocks are for AVX-512";
  Net net;
  CompileOptions options;
  options.batch = Net::kBatchSize;
  const Plan plan = compile(net.graph, options);
  // Out: the pooled image for the classifier. In: its gradient.
  EXPECT_LE(count_kernels(plan, "unblock"), 1) << plan.text();
  EXPECT_LE(count_kernels(plan, "pack nChw16c"), 1) << plan.text();
}

TEST(Images, GradientsBehindActivationsAreNotStored) {
  Net net;
  CompileOptions options;
  options.batch = Net::kBatchSize;
  const Plan plan = compile(net.graph, options);
  int carried = 0;
  for (const Node& node : plan.data().graph.nodes()) {
    const AttrValue* prologue = node.attrs().find("prologue");
    carried += prologue != nullptr && bool(std::get<ProgramRef>(*prologue));
  }
  // Of the stem and of block a; behind the shortcut the masked gradient is read three times.
  EXPECT_GE(carried, 1) << plan.text();
}

// A convolution whose weight is a codebook runs from its indices.
TEST(Images, FrozenCodebookConvolutionHoldsNoDenseWeights) {
  constexpr std::int64_t kOut = 64, kIn = 32;
  Graph graph(ops::standard_ops());
  State state;
  CodebookFormat format;
  format.bits = 2;
  const Shape shape{kOut, kIn, 3, 3};
  const std::int64_t bytes = format.index_bytes(shape);
  Tensor indices(DType::u8, Shape{bytes});
  Rng rng(5, 5);
  for (std::int64_t i = 0; i < bytes; ++i)
    indices.span<std::uint8_t>()[static_cast<std::size_t>(i)] =
        static_cast<std::uint8_t>(rng.below(256));
  state.set("w.indices", indices);
  state.set("w.entries", random_tensor({1, 4}, 3));
  state.set("bias", random_tensor({kOut}, 4));
  const Value x = graph.input("x", f32({kBatch, kIn, 9, 7}));
  const Value w = ops::codebook(graph.param("w.indices", {DType::u8, {bytes}, {}}),
                                graph.param("w.entries", f32({1, 4})), Value(), format, shape);
  ops::Conv2dOptions options;
  options.padding = {1, 1, 1, 1};
  const Value bias = ops::reshape(graph.param("bias", f32({kOut})), {kOut, 1, 1});
  graph.set_output("y", ops::relu(ops::conv2d(x, w, options) + bias));
  graph.set_output("dense", ops::relu(ops::conv2d(x, ops::decode(w), options) + bias));

  Graph packed(ops::standard_ops());
  {
    const Value px = packed.input("x", x.type());
    const Value pw = ops::codebook(packed.param("w.indices", {DType::u8, {bytes}, {}}),
                                   packed.param("w.entries", f32({1, 4})), Value(), format, shape);
    const Value pb = ops::reshape(packed.param("bias", f32({kOut})), {kOut, 1, 1});
    packed.set_output("y", ops::relu(ops::conv2d(px, pw, options) + pb));
  }
  for (const std::int64_t n : {1, 3}) {
    CompileOptions compile_options;
    compile_options.batch = n;
    compile_options.packed_only = true;
    const Plan plan = compile(packed, state, compile_options);
    EXPECT_TRUE(plan.decoded().empty());
    EXPECT_LT(plan.memory().persistent + plan.memory().states,
              shape.numel());  // 4 bytes each, dense
    const Tensor input = random_tensor({n, kIn, 9, 7}, 8);
    compile_options.packed_only = false;
    const Plan both = compile(graph, state, compile_options);
    const auto want = both.run({{"x", input}});
    const auto got = plan.run({{"x", input}});
    const auto a = got.at("y").span<float>(), b = want.at("dense").span<float>();
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 5e-4) << i;
  }
}

}  // namespace
}  // namespace tessera
