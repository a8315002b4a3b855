// Images as bytes between layers in integers: what a layer makes of bytes and leaves as bytes is
// what it makes of floats, to the bit; depthwise layers equal plain integers.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/compile.h"
#include "core/parallel.h"
#include "ops/build.h"
#include "ops/conv/int8_conv.h"
#include "ops/conv/int8_depthwise.h"
#include "ops/layout/byte_images.h"
#include "ops/op_list.h"
#include "tests/ops/int8_conv_cases.h"

namespace tessera {
namespace {

using namespace test::int8;

class Int8BytesTest : public testing::Test {
 protected:
  void TearDown() override { set_num_threads(before_); }
  int before_ = num_threads();
};

// What of them means something.
std::vector<std::byte> significant(const std::byte* bytes, const Shape& shape) {
  const ByteImages at(shape);
  const std::int64_t n = shape[0].value();
  std::vector<std::byte> out(bytes, bytes + n * at.image_bytes);
  out.insert(out.end(), bytes + at.scale_at, bytes + at.scale_at + 4 * n);
  out.insert(out.end(), bytes + at.zero_at, bytes + at.zero_at + 4 * n);
  return out;
}

// Bytes in, bytes or floats out, in memory of exactly the size that is asked for.
struct Result {
  std::vector<std::byte> bytes;
  std::vector<float> floats;
};
template <class MakeConv>
Result run(test::Case& c, const std::vector<std::int32_t>& order, CpuFeatures features,
           bool to_bytes, MakeConv make) {
  const ConvGeometry g = conv_geometry(*c.node);
  const Weight w(c);
  const Guarded packed(
      layout_of_int8(arranged(w.view, static_cast<std::int64_t>(order.size()))).bytes);
  pack_int8(w.view, order, packed.as<char>());
  const Shape& from = c.node->input(0).shape();
  const Shape& shape = c.node->types()[0].shape;
  const Guarded x(ByteImages(from).bytes);
  write_bytes(c.inputs[0].v.data(), from, x.as<std::byte>());
  const auto conv = make(w.view);
  KernelPlan plan;
  const PixelEpilogue epilogue(*c.node, features, plan);
  const Guarded y(to_bytes ? ByteImages(shape).bytes : 4 * blocked_numel(shape));
  const Guarded scratch(conv.scratch_bytes());
  BufferRef out;
  out.plane[0] = y.as<std::byte>();
  const KernelArgs args{{}, {&out, 1}, scratch.as<std::byte>()};
  conv.run(x.as<std::byte>(), packed.as<char>(), y.as<std::byte>(), epilogue.bind(args, nullptr),
           scratch.as<std::byte>());
  Result result;
  if (to_bytes) {
    result.bytes = significant(y.as<std::byte>(), shape);
  } else {
    result.floats.resize(static_cast<std::size_t>(shape.numel()));
    unblock_image(y.as<float>(), g.n, g.out, g.oh * g.ow, result.floats.data());
  }
  return result;
}

// By definition, in plain loops.
void expect_equal(test::Case& c, const char* what) {
  const ConvGeometry g = conv_geometry(*c.node);
  const Shape& shape = c.node->types()[0].shape;
  const std::vector<float> want = expected(c);
  const std::vector<double> values(want.begin(), want.end());
  std::vector<std::byte> bytes(static_cast<std::size_t>(ByteImages(shape).bytes));
  write_bytes(values.data(), shape, bytes.data());
  for (const Level& level : levels()) {
    for (const int threads : {1, 2, 3}) {
      if (threads > 1 && level.features == kScalar) continue;  // slow, and parted in the same way
      set_num_threads(threads);
      for (const bool to_bytes : {false, true}) {
        const bool depthwise = g.depthwise();
        const Result got =
            depthwise ? run(c, int8_depthwise_order(g), level.features, to_bytes,
                            [&](const CodebookView& view) {
                              return Int8Depthwise(g, view, to_bytes, level.features, threads);
                            })
                      : run(c, int8_conv_order(g), level.features, to_bytes,
                            [&](const CodebookView& view) {
                              return Int8Conv(g, view, ImageForm::bytes, to_bytes, level.features,
                                              threads);
                            });
        const auto say = [&] {
          return cat(what, " ", c.node->input(0).type().text(), " ", c.node->input(1).type().text(),
                     " on ", level.row, ", ", threads, " threads");
        };
        if (to_bytes)
          ASSERT_EQ(got.bytes, significant(bytes.data(), shape)) << say();
        else
          ASSERT_EQ(got.floats, want) << say();
      }
    }
  }
}

TEST_F(Int8BytesTest, DenseLayersEqualPlainIntegers) {
  const Geometry geometries[] = {
      {{1, 16, 20, 13}, {16, 16, 3, 3}, {1, 1}, {1, 1, 1, 1}},         // borders
      {{3, 42, 9, 11}, {50, 42, 3, 2}, {2, 1}, {0, 2, 1, 0}},          // odd channels and borders
      {{2, 130, 11, 11}, {70, 130, 1, 1}},                             // bytes as they lie
      {{3, 48, 40, 40}, {18, 48, 1, 1}},                               // in chunks
      {{2, 32, 13, 13}, {80, 32, 1, 1}, {2, 2}},                       // pointwise with steps
      {{5, 32, 8, 8}, {24, 32, 1, 1}, {1, 1}, {1, 0, 0, 2}},           // pointwise with borders
      {{4, 20, 9, 9}, {19, 20, 3, 3}},                                 // without borders
      {{33, 70, 2, 2}, {65, 70, 3, 3}, {1, 1}, {1, 1, 1, 1}},          // one pixel of many images
      {{9, 36, 7, 5}, {30, 36, 1, 1}},                                 // and pointwise
      {{1, 33, 4, 4}, {40, 33, 3, 3}, {1, 1}, {1, 1, 1, 1}},           // patches of one image
      {{3, 64, 6, 5}, {130, 64, 2, 3}, {1, 1}, {0, 1, 1, 0}, {1, 2}},  // of three
      {{3, 3, 30, 30}, {20, 3, 7, 7}, {2, 2}, {3, 3, 3, 3}},           // a first layer
      {{3, 6, 90, 90}, {270, 6, 1, 1}},                                // results beyond a cache
  };
  std::uint64_t seed = 0;
  for (const Geometry& geometry : geometries) {
    for (int i = 0; i < 2; ++i, ++seed) {
      test::Case c = case_of(geometry, kFormats[seed % std::size(kFormats)], false, seed,
                             seed % 3 == 0 ? 0 : -1);
      expect_equal(c, "dense");
    }
  }
}

TEST_F(Int8BytesTest, DepthwiseLayersEqualPlainIntegers) {
  const auto layer = [](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w,
                        std::int64_t kh, std::int64_t kw, Ints stride, Ints padding) {
    return Geometry{{n, c, h, w}, {c, 1, kh, kw}, std::move(stride), std::move(padding), {1, 1}, c};
  };
  const Geometry geometries[] = {
      layer(2, 32, 14, 14, 3, 3, {1, 1}, {1, 1, 1, 1}),
      layer(1, 48, 29, 15, 3, 3, {2, 2}, {1, 1, 1, 1}),
      layer(3, 20, 9, 7, 5, 5, {1, 1}, {2, 2, 2, 2}),
      layer(1, 18, 12, 31, 5, 5, {2, 2}, {1, 2, 2, 1}),  // odd channels
      layer(2, 16, 8, 8, 7, 7, {1, 1}, {3, 3, 3, 3}),
      layer(1, 33, 6, 40, 1, 6, {1, 2}, {0, 9, 0, 7}),  // borders as wide as the taps
      layer(2, 17, 30, 3, 8, 1, {3, 1}, {5, 0, 4, 0}),
      layer(1, 2, 5, 5, 4, 4, {1, 1}, {0, 0, 0, 0}),
      layer(1, 64, 1, 1, 3, 3, {1, 1}, {1, 1, 1, 1}),
      layer(2, 80, 60, 60, 2, 2, {2, 2}, {0, 0, 0, 0}),  // worth several threads
  };
  std::uint64_t seed = 100;
  for (const Geometry& geometry : geometries) {
    for (int i = 0; i < 4; ++i, ++seed) {
      test::Case c = case_of(geometry, kFormats[seed % std::size(kFormats)], false, seed,
                             seed % 3 == 0 ? 0 : -1);
      ASSERT_STREQ(int8_depthwise_refuses(conv_geometry(*c.node)), "");
      expect_equal(c, "depthwise");
    }
  }
}

TEST_F(Int8BytesTest, DepthwiseRefusesWhatHasNoKernel) {
  const auto reason = [](Shape w, Ints stride, Ints dilation, std::int64_t groups) {
    const Geometry geometry{{1, 16, 20, 20}, std::move(w),        std::move(stride),
                            {0, 0, 0, 0},    std::move(dilation), groups};
    test::Case c = case_of(geometry, {.bits = 4}, false, 1);
    return std::string(int8_depthwise_refuses(conv_geometry(*c.node)));
  };
  EXPECT_EQ(reason({16, 1, 3, 3}, {1, 1}, {1, 1}, 16), "");
  EXPECT_EQ(reason({16, 1, 3, 3}, {1, 3}, {1, 1}, 16), "steps of more than two pixels");
  EXPECT_EQ(reason({16, 1, 3, 3}, {1, 1}, {2, 1}, 16), "dilation");
  EXPECT_EQ(reason({16, 1, 9, 3}, {1, 1}, {1, 1}, 16), "many taps");
  EXPECT_EQ(reason({16, 1, 3, 8}, {1, 1}, {1, 1}, 16), "many taps");
  EXPECT_EQ(reason({32, 1, 3, 3}, {1, 1}, {1, 1}, 16), "not depthwise");
  EXPECT_EQ(reason({16, 2, 3, 3}, {1, 1}, {1, 1}, 8), "not depthwise");
}

// ---- in a graph ----

// Layers with codebooks of random entries.
struct Net {
  Graph graph{ops::standard_ops()};
  State state;
  Rng rng{1, 5};

  Value param(const std::string& name, const Shape& shape, float low, float high) {
    Tensor value(DType::f32, shape);
    for (float& v : value.span<float>()) v = rng.uniform(low, high);
    state.set(name, value);
    return graph.param(name, {DType::f32, shape, {}});
  }
  Value layer(const std::string& name, Value x, const Shape& w, std::int64_t groups = 1,
              std::int64_t stride = 1, bool scaled = true) {
    const CodebookFormat format{.bits = 4};
    Tensor indices(DType::u8, format.indices_shape(w));
    for (std::uint8_t& b : indices.span<std::uint8_t>())
      b = static_cast<std::uint8_t>(rng.below(256));
    state.set(name + ".i", indices);
    const Value weight = ops::codebook(graph.param(name + ".i", {DType::u8, indices.shape(), {}}),
                                       param(name + ".e", {1, 16}, -0.3f, 0.3f), {}, format, w);
    const std::int64_t pad = w[2].value() / 2;
    const Value y = ops::conv2d(
        x, weight, {.stride = {stride, stride}, .padding = {pad, pad, pad, pad}, .groups = groups});
    const Value bias = param(name + ".b", {1, w[0], 1, 1}, -0.2f, 0.2f);
    return scaled ? y * param(name + ".m", {1, w[0], 1, 1}, 0.5f, 1.5f) + bias : y + bias;
  }
};

std::int64_t byte_results(const Plan& plan) {
  std::int64_t count = 0;
  for (const StepInfo& step : plan.steps())
    count += step.op == "conv2d" && step.type.find(kByteImages) != step.type.npos;
  return count;
}
std::set<std::string> kernels_of(const Plan& plan) {
  std::set<std::string> out;
  for (const StepInfo& step : plan.steps())
    if (step.op == "conv2d") out.insert(step.kernel);
  return out;
}
Tensor images(const Shape& shape, std::uint64_t seed) {
  Tensor out(DType::f32, shape);
  Rng rng(1, seed);
  for (float& v : out.span<float>()) v = rng.uniform(-1.0f, 1.0f);
  return out;
}
std::vector<float> floats(const Tensor& t) {
  const auto values = t.span<float>();
  return {values.begin(), values.end()};
}

// Two layers, and a third that adds what the first read: with the image between two layers as an
// output besides, which leaves as floats, the same bits come out.
TEST_F(Int8BytesTest, LayersGiveTheBitsThatFloatsGive) {
  struct Layers {
    Shape x;
    std::int64_t middle, kernel, stride;
    bool affine;  // what follows the second, so that its kernel computes it
  };
  for (const Layers& l :
       {Layers{{3, 40, 21, 17}, 100, 3, 1, true}, Layers{{9, 128, 4, 4}, 112, 3, 1, true},
        Layers{{2, 128, 4, 4}, 120, 3, 1, true}, Layers{{2, 96, 16, 16}, 130, 1, 1, true},
        Layers{{1, 64, 30, 30}, 70, 5, 2, false}, Layers{{3, 40, 21, 17}, 100, 3, 1, false},
        Layers{{9, 128, 4, 4}, 112, 3, 1, false}}) {
    const auto compiled = [&](bool outputs, CpuFeatures features, int threads) {
      Net net;
      const Value x = net.graph.input("x", {DType::f32, l.x, {}});
      const std::int64_t c = l.x[1].value();
      const Value a =
          ops::relu(net.layer("a", x, {l.middle, c, l.kernel, l.kernel}, 1, l.stride, false));
      const Value sum = net.layer("b", a, {c, l.middle, 3, 3}, 1, 1, l.affine);
      const Value b = l.affine ? ops::clamp(sum, -0.4, 0.5) : ops::tanh(sum);
      const Value y = net.layer("c", b, {l.middle, c, 3, 3}, 1, 1, false) + a;
      net.graph.set_output("y", y);
      if (outputs) net.graph.set_output("b", b);
      return compile(net.graph, net.state,
                     {.threads = threads, .features = features, .int8 = true});
    };
    const std::map<std::string, Tensor> inputs = {{"x", images(l.x, 3)}};
    const Plan plain = compiled(true, active_features(), 1);
    EXPECT_EQ(byte_results(plain), 0);
    const std::vector<float> want = floats(plain.run(inputs).at("y"));
    for (const Level& level : levels()) {
      for (const int threads : {1, 2}) {
        const Plan plan = compiled(false, level.features, threads);
        EXPECT_EQ(byte_results(plan), 1) << "b; a is added as it is";
        ASSERT_EQ(floats(plan.run(inputs).at("y")), want) << level.row << " " << l.x.text();
      }
    }
  }
}

// An inverted residual is bytes from its expansion to its projection, where its readers are
// integers.
struct Block {
  std::int64_t batch = 2;
  bool int8 = true, outputs = false;
  CpuFeatures features = active_features();
  int threads = 1;

  Plan plan() const {
    Net net;
    const auto relu6 = [](Value v) { return ops::clamp(v, 0.0, 6.0); };
    const Value x = net.graph.input("x", f32({batch, 32, 20, 20}));
    const Value e = relu6(net.layer("e", x, {192, 32, 1, 1}));
    const Value d = relu6(net.layer("d", e, {192, 1, 3, 3}, 192));
    net.graph.set_output("y", net.layer("p", d, {32, 192, 1, 1}, 1, 1, false) + x);
    if (outputs) net.graph.set_output("e", e);
    return compile(net.graph, net.state, {.threads = threads, .features = features, .int8 = int8});
  }
};

TEST_F(Int8BytesTest, InvertedResidual) {
  const Tensor x = images({2, 32, 20, 20}, 4);
  const Plan plan = Block{}.plan();
  EXPECT_EQ(byte_results(plan), 2);
  EXPECT_TRUE(plan.decoded().empty());
  const std::vector<float> got = floats(plan.run({{"x", x}}).at("y"));
  const std::vector<float> exact = floats(Block{.int8 = false}.plan().run({{"x", x}}).at("y"));
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    signal += exact[i] * exact[i];
    noise += (exact[i] - got[i]) * (exact[i] - got[i]);
  }
  EXPECT_GT(10 * std::log10(signal / noise), 30.0);
  for (const Level& level : levels()) {
    for (const int threads : {1, 2, 3}) {
      const Plan other = Block{.features = level.features, .threads = threads}.plan();
      ASSERT_EQ(floats(other.run({{"x", x}}).at("y")), got) << level.row << " " << threads;
      EXPECT_TRUE(kernels_of(other).contains(cat("conv2d_s8_depthwise_cb_", level.row)));
    }
  }
  // Each image for itself.
  const Plan one = Block{.batch = 1}.plan();
  std::vector<float> apart;
  for (std::int64_t i = 0; i < 2; ++i) {
    const std::vector<float> y = floats(one.run({{"x", x.slice(i, i + 1)}}).at("y"));
    apart.insert(apart.end(), y.begin(), y.end());
  }
  EXPECT_EQ(apart, got);
}

// Added to each channel of each image: no bias.
TEST_F(Int8BytesTest, OperandsOfEachImage) {
  const auto compiled = [](bool sums) {
    Net net;
    const Value x = net.graph.input("x", f32({2, 64, 12, 12}));
    const Value r = net.graph.input("r", f32({2, 96, 1, 1}));
    const Value sum = net.layer("a", x, {96, 64, 3, 3}, 1, 1, false);
    net.graph.set_output("y", sums ? sum : ops::relu(sum + r));
    return compile(net.graph, net.state, {.threads = 1, .int8 = true});
  };
  const Tensor x = images({2, 64, 12, 12}, 1), r = images({2, 96, 1, 1}, 2);
  const Plan plan = compiled(false);
  ASSERT_TRUE(kernels_of(plan).begin()->starts_with("conv2d_s8"));
  const std::vector<float> y = floats(plan.run({{"x", x}, {"r", r}}).at("y"));
  const std::vector<float> sums = floats(compiled(true).run({{"x", x}}).at("y"));
  const auto added = r.span<float>();
  for (std::size_t i = 0; i < y.size(); ++i)
    ASSERT_EQ(y[i], std::max(sums[i] + added[i / 144], 0.0f)) << i;
}

TEST_F(Int8BytesTest, OnlyWhereEveryReaderComputesInIntegers) {
  EXPECT_EQ(byte_results(Block{.int8 = false}.plan()), 0);
  const Plan plan = Block{.outputs = true}.plan();
  EXPECT_EQ(byte_results(plan), 0) << "the depthwise layer gets floats, so it is exact";
  for (const std::string& kernel : kernels_of(plan))
    EXPECT_EQ(kernel.find("s8_depthwise"), kernel.npos);
}

TEST_F(Int8BytesTest, ImagesThatAreNotFinite) {
  Tensor x = images({4, 32, 20, 20}, 4);
  constexpr std::size_t kSize = 32 * 400;
  const auto values = x.span<float>();
  values[kSize + 5] = std::numeric_limits<float>::quiet_NaN();
  values[3 * kSize - 1] = std::numeric_limits<float>::infinity();
  std::fill_n(values.begin() + 3 * kSize, kSize, 0.0f);
  for (const Level& level : levels()) {
    const std::vector<float> y =
        floats(Block{.batch = 4, .features = level.features}.plan().run({{"x", x}}).at("y"));
    for (std::size_t i = 0; i < kSize; ++i) {
      EXPECT_TRUE(std::isfinite(y[i]));
      EXPECT_TRUE(std::isnan(y[kSize + i]));
      EXPECT_TRUE(std::isnan(y[2 * kSize + i]));
      EXPECT_TRUE(std::isfinite(y[3 * kSize + i]));
    }
  }
}

// A reader that takes no bytes after all gets floats of them.
TEST_F(Int8BytesTest, FloatsOfBytes) {
  const Shape shape = {2, 6, 3, 5};
  const Tensor x = images(shape, 9);
  const std::vector<float> from = floats(x);
  const std::vector<double> values(from.begin(), from.end());
  std::vector<std::byte> bytes(static_cast<std::size_t>(ByteImages(shape).bytes));
  write_bytes(values.data(), shape, bytes.data());
  Graph graph(ops::standard_ops());
  const Value v = graph.input("x", {DType::f32, shape, byte_encoding(shape)});
  const Value decoded = graph.add(*graph.ops().core().decode, {v}, {}, "").output();
  const bool fixed[] = {false};
  const KernelQuery query{*decoded.node, kScalar, 1, fixed};
  ASSERT_EQ(kFloatsRow.refuses(query), "");
  const KernelPlan plan = kFloatsRow.prepare(query);
  std::vector<float> got(from.size());
  BufferRef in, out;
  in.plane[0] = bytes.data();
  out.plane[0] = reinterpret_cast<std::byte*>(got.data());
  plan.run({{&in, 1}, {&out, 1}, nullptr});
  for (std::size_t image = 0; image < 2; ++image) {
    const Bytes want = bytes_of(values.data() + image * 90, 90);
    for (std::size_t i = 0; i < 90; ++i)
      EXPECT_EQ(got[image * 90 + i], static_cast<float>(want.less_zero[i]) * want.scale);
  }
}

}  // namespace
}  // namespace tessera
