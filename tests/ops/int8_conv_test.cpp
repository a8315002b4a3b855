// Convolutions of codebook weights in integers: against the definition in plain loops, exactly, on
// every instruction set and for any number of threads.
#include "ops/conv/int8_conv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "core/compile.h"
#include "core/parallel.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/conv/rows.h"
#include "ops/layout/layout.h"
#include "ops/op_list.h"
#include "tests/ops/int8_conv_cases.h"

namespace tessera {
namespace {

using namespace test::int8;

const Geometry kGeometries[] = {
    {{1, 16, 20, 13}, {16, 16, 3, 3}, {1, 1}, {1, 1, 1, 1}},          // borders, long rows
    {{3, 40, 9, 11}, {50, 40, 3, 2}, {2, 1}, {0, 2, 1, 0}},           // odd channels and borders
    {{2, 17, 15, 15}, {33, 17, 5, 5}, {1, 1}, {2, 2, 2, 2}},          // of many taps
    {{1, 20, 19, 19}, {18, 20, 3, 3}, {1, 2}, {3, 1, 0, 4}, {2, 3}},  // dilation
    {{2, 130, 11, 11}, {70, 130, 1, 1}},                              // pixels as one line
    {{1, 48, 40, 40}, {16, 48, 1, 1}},                                // in chunks
    {{2, 32, 13, 13}, {80, 32, 1, 1}, {2, 2}},                        // pointwise with steps
    {{5, 32, 8, 8}, {24, 32, 1, 1}, {1, 1}, {1, 0, 0, 2}},            // pointwise with borders
    {{33, 24, 9, 9}, {19, 24, 3, 3}, {1, 1}, {1, 1, 1, 1}},           // units over several images
    {{33, 70, 2, 2}, {65, 70, 3, 3}, {1, 1}, {1, 1, 1, 1}},           // one pixel of many images
    {{9, 16, 5, 4}, {17, 16, 3, 3}, {2, 2}, {1, 1, 1, 1}},            // and with steps
    {{1, 33, 4, 4}, {40, 33, 3, 3}, {1, 1}, {1, 1, 1, 1}},            // patches of one image
    {{3, 64, 6, 5}, {130, 64, 2, 3}, {1, 1}, {0, 1, 1, 0}, {1, 2}},   // of three
    {{1, 16, 1, 1}, {16, 16, 3, 3}, {1, 1}, {3, 3, 3, 3}},            // pixels that no tap meets
    {{1, 16, 7, 3}, {16, 16, 1, 4}, {1, 1}, {0, 9, 0, 6}},            // borders as wide as that
    {{3, 3, 30, 30}, {20, 3, 7, 7}, {2, 2}, {3, 3, 3, 3}},            // a first layer
    {{3, 1, 12, 12}, {20, 1, 5, 5}},                                  // of one channel
    {{1, 6, 9, 300}, {16, 6, 3, 3}, {1, 1}, {1, 1, 1, 1}},      // rows longer than what is hot
    {{3, 12, 200, 10}, {140, 12, 3, 3}, {1, 1}, {1, 1, 1, 1}},  // of long and narrow images
    {{3, 64, 34, 34}, {16, 64, 3, 3}, {1, 1}, {1, 1, 1, 1}},    // units of two images and of one
    {{401, 64, 2, 2}, {16, 64, 3, 3}, {1, 1}, {1, 1, 1, 1}},    // of many, by pixels
    {{3, 64, 400, 6}, {16, 64, 3, 3}, {1, 1}, {1, 1, 1, 1}},    // of one, by patches
};

// The kernels themselves, whether selection would choose them or not, in memory of exactly the size
// that they ask for. Lanes behind the last channel are zeros.
std::vector<float> run(test::Case& c, CpuFeatures features, int threads) {
  const ConvGeometry g = conv_geometry(*c.node);
  const Weight w(c);
  const auto order = int8_conv_order(g);
  const auto cols = static_cast<std::int64_t>(order.size());
  const Guarded packed(layout_of_int8(arranged(w.view, cols)).bytes);
  pack_int8(w.view, order, packed.as<char>());
  const auto values = c.planes[0][0].span<float>();
  const Guarded x(static_cast<std::int64_t>(4 * values.size()));
  std::copy(values.begin(), values.end(), x.as<float>());
  const Int8Conv conv(g, w.view, image_form(c.node->input(0).type()), false, features, threads);
  KernelPlan plan;
  const PixelEpilogue epilogue(*c.node, features, plan);
  const Shape& shape = c.node->types()[0].shape;
  const Guarded memory(4 * blocked_numel(shape)), scratch(conv.scratch_bytes());
  const auto* y = memory.as<float>();
  BufferRef out;
  out.plane[0] = memory.as<std::byte>();
  const KernelArgs args{{}, {&out, 1}, scratch.as<std::byte>()};
  conv.run(x.as<std::byte>(), packed.as<char>(), memory.as<std::byte>(),
           epilogue.bind(args, nullptr), scratch.as<std::byte>());
  std::vector<float> dense(static_cast<std::size_t>(shape.numel()));
  const std::int64_t pixels = g.oh * g.ow, blocks = channel_blocks(shape);
  unblock_image(y, g.n, g.out, pixels, dense.data());
  for (std::int64_t n = 0; n < g.n; ++n) {
    for (std::int64_t i = 0; i < pixels; ++i) {
      const std::int64_t block = ((n + 1) * blocks - 1) * pixels + i;
      for (std::int64_t lane = g.out - (blocks - 1) * 16; lane < 16; ++lane)
        EXPECT_EQ(y[block * 16 + lane], 0.0f);
    }
  }
  return dense;
}

class Int8ConvTest : public testing::Test {
 protected:
  void TearDown() override { set_num_threads(before_); }
  int before_ = num_threads();
};

void all_equal(test::Case& c, const char* what) {
  const std::vector<float> want = expected(c);
  for (const Level& level : levels()) {
    for (const int threads : {1, 2, 3}) {
      if (threads > 1 && level.features == kScalar) continue;  // slow, and parted in the same way
      set_num_threads(threads);
      ASSERT_EQ(run(c, level.features, threads), want)
          << what << " " << c.node->input(0).type().text() << " " << c.node->input(1).type().text()
          << " on " << level.row << ", " << threads << " threads";
    }
  }
}

TEST_F(Int8ConvTest, EqualsPlainIntegersOnEveryInstructionSet) {
  std::uint64_t seed = 0;
  for (const Geometry& geometry : kGeometries) {
    for (int i = 0; i < 3; ++i, ++seed) {
      // One-sided images too: their zero point is at an end.
      test::Case c = case_of(geometry, kFormats[seed % std::size(kFormats)], seed % 2 == 0, seed,
                             seed % 5 == 0 ? 0 : -1);
      all_equal(c, "chosen");
    }
  }
}

TEST_F(Int8ConvTest, RandomLayers) {
  int ran = 0;
  for (std::uint64_t seed = 0; seed < 250; ++seed) {
    Rng rng(2, seed);
    const auto draw = [&](std::int64_t low, std::int64_t high) {
      return low + static_cast<std::int64_t>(rng.uniform() * static_cast<double>(high - low + 1));
    };
    const std::int64_t kh = draw(1, 4), kw = draw(0, 2) == 0 ? draw(1, 4) : kh, c = draw(1, 40);
    const Geometry g{{draw(1, 12), c, draw(1, 16), draw(1, 16)},
                     {draw(1, 60), c, kh, kw},
                     {draw(1, 3), draw(1, 2)},
                     {draw(0, 2), draw(0, 2), draw(0, 2), draw(0, 2)},
                     {draw(1, 2), draw(1, 2)}};
    const auto size = [&](int axis, int pad) {
      const auto i = static_cast<std::size_t>(axis);
      return window_count(g.x[axis + 2].value(), g.padding[pad] + g.padding[pad + 2],
                          g.w[axis + 2].value(), g.stride[i], g.dilation[i]);
    };
    if (size(0, 0) < 1 || size(1, 1) < 1) continue;
    ++ran;
    test::Case made = case_of(g, kFormats[seed % std::size(kFormats)], draw(0, 1) == 1, seed);
    all_equal(made, "random");
  }
  EXPECT_GT(ran, 150);
}

// All bytes 255 and all entries -128 or 127: sums of 16 bits would be cut off.
TEST_F(Int8ConvTest, NothingSaturates) {
  const Geometry geometry{{1, 512, 5, 9}, {48, 512, 3, 3}, {1, 1}, {1, 1, 1, 1}};
  for (const double value : {1.0, -1.0}) {
    test::Case c = case_of(geometry, {.bits = 1, .entry_dtype = DType::s8}, false, 1);
    test::set_input(c, 0, std::vector<double>(512 * 5 * 9, value));
    set_element(c.planes[1][1], 0, -128);
    for (std::int64_t i = 1; i < c.planes[1][1].numel(); ++i) set_element(c.planes[1][1], i, 127);
    const auto indices = c.planes[1][0].span<std::uint8_t>();
    for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = i < indices.size() / 2 ? 0 : 255;
    if (c.planes[1][1].numel() == 1) std::fill(indices.begin(), indices.end(), std::uint8_t{0});
    const std::vector<float> y = run(c, active_features(), 1);
    EXPECT_NEAR(y[10], -128.0 * value * 512 * 9, 1);
    all_equal(c, "extreme");
  }
}

TEST_F(Int8ConvTest, ZerosTinyAndNotFiniteImages) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const Geometry geometry{{6, 18, 8, 8}, {20, 18, 3, 3}, {1, 1}, {1, 1, 1, 1}};
  for (const bool blocked : {false, true}) {
    test::Case c = case_of(geometry, {.bits = 4}, false, 3);
    constexpr std::size_t kSize = 18 * 64, kOut = 20 * 64;
    std::vector<double> x = c.inputs[0].v;
    std::fill_n(x.begin(), kSize, 0.0);
    std::fill_n(x.begin() + kSize, kSize, 0x1p-120);
    x[2 * kSize + 100] = std::numeric_limits<double>::quiet_NaN();
    x[3 * kSize] = kInf;
    x[5 * kSize - 1] = -kInf;
    if (blocked) {
      c = case_of(geometry, {.bits = 4}, true, 3);
      std::vector<float> dense(x.begin(), x.end());
      block_image(dense.data(), 6, 18, 64, c.planes[0][0].span<float>().data());
    } else {
      test::set_input(c, 0, x);
    }
    for (const Level& level : levels()) {
      const std::vector<float> y = run(c, level.features, 1);
      for (std::size_t i = 0; i < kOut; ++i) {
        EXPECT_EQ(y[i], 0.0f);
        EXPECT_EQ(y[kOut + i], 0.0f);
        for (const std::size_t image : {2, 3, 4}) EXPECT_TRUE(std::isnan(y[image * kOut + i]));
        EXPECT_TRUE(std::isfinite(y[5 * kOut + i]));
      }
    }
  }
}

// ---- in a graph ----

struct Compiled {
  Plan plan;
  std::map<std::string, Tensor> inputs;
};

// relu(conv(x) + bias) + r, and the same before r, of which the convolution carries all.
Compiled compiled(test::Case& c, CpuFeatures features, int threads, bool int8 = true) {
  const ConvGeometry g = conv_geometry(*c.node);
  const Node& conv = *c.node;
  const CodebookFormat& format = *conv.input(1).type().encoding.codebook_format();
  const Shape shape = conv.input(1).shape(), y = conv.types()[0].shape;
  Graph graph(ops::standard_ops());
  State state;
  const auto param = [&](const std::string& name, const Tensor& value) {
    state.set(name, value.clone());
    return graph.param(name, {value.dtype(), value.shape(), {}});
  };
  std::vector<float> bias;
  for (std::int64_t i = 0; i < g.out; ++i) bias.push_back(0.125f * static_cast<float>(i % 7 - 3));
  const Value weight =
      ops::codebook(param("i", c.planes[1][0]), param("e", c.planes[1][1]),
                    c.planes[1].size() > 2 ? param("s", c.planes[1][2]) : Value(), format, shape);
  const Value x = graph.input("x", {DType::f32, conv.input(0).shape(), {}});
  const Value r = graph.input("r", {DType::f32, y, {}});
  const Value sum = ops::relu(ops::conv2d(x, weight,
                                          {.stride = {g.stride_h, g.stride_w},
                                           .padding = {g.top, g.left, g.bottom, g.right},
                                           .groups = g.groups}) +
                              param("b", Tensor::from(bias, {1, g.out, 1, 1})));
  graph.set_output("y", sum + r);
  Tensor residual(DType::f32, y);
  for (std::int64_t i = 0; i < y.numel(); ++i)
    residual.span<float>()[static_cast<std::size_t>(i)] = 0.25f * static_cast<float>(i % 9);
  std::vector<float> values(c.inputs[0].v.begin(), c.inputs[0].v.end());
  return {compile(graph, state, {.threads = threads, .features = features, .int8 = int8}),
          {{"x", Tensor::from(values, conv.input(0).shape())}, {"r", residual}}};
}
std::string kernel_of(const Plan& plan) {
  for (const StepInfo& step : plan.steps())
    if (step.op == "conv2d") return step.kernel;
  return {};
}

const Geometry kWinning[] = {
    {{3, 40, 21, 17}, {100, 40, 3, 3}, {1, 1}, {1, 1, 1, 1}},  // rows of pixels, tail lanes
    {{3, 64, 12, 12}, {64, 64, 3, 3}, {1, 1}, {1, 1, 1, 1}},   // rows shorter than a line
    {{9, 128, 4, 4}, {112, 128, 3, 3}, {1, 1}, {1, 1, 1, 1}},  // one pixel of many images
    {{2, 128, 4, 4}, {120, 128, 3, 3}, {1, 1}, {1, 1, 1, 1}},  // patches
};

TEST_F(Int8ConvTest, CarriesTheEpilogue) {
  for (const Geometry& geometry : kWinning) {
    test::Case c = case_of(geometry, {.bits = 4}, false, 7);
    const ConvGeometry g = conv_geometry(*c.node);
    std::vector<float> want = expected(c);
    for (std::size_t i = 0; i < want.size(); ++i) {
      const auto channel = static_cast<std::int64_t>(i) / (g.oh * g.ow) % g.out;
      const float sum = want[i] + 0.125f * static_cast<float>(channel % 7 - 3);
      want[i] = std::max(sum, 0.0f) + 0.25f * static_cast<float>(i % 9);
    }
    for (const Level& level : levels()) {
      for (const int threads : {1, 2}) {
        const Compiled compiled_ = compiled(c, level.features, threads);
        EXPECT_EQ(kernel_of(compiled_.plan), std::string("conv2d_s8_cb_") + level.row);
        for (const StepInfo& step : compiled_.plan.steps())
          EXPECT_NE(step.op, "fused") << "the convolution carries the program";
        const Tensor y = compiled_.plan.run(compiled_.inputs).at("y");
        const auto got = y.span<float>();
        ASSERT_EQ(std::vector<float>(got.begin(), got.end()), want)
            << level.row << " " << geometry.x.text();
      }
    }
  }
}

TEST_F(Int8ConvTest, ChosenWhereIntegersWinAndAskedForOnly) {
  test::Case wins = case_of(kWinning[0], {.bits = 4}, false, 1);
  EXPECT_EQ(kernel_of(compiled(wins, active_features(), 1, false).plan).find("_s8_"),
            std::string::npos);
  // Too little to compute for what is rounded: a first layer, and a narrow pointwise one.
  for (const Geometry& geometry :
       {Geometry{{1, 1, 28, 28}, {20, 1, 5, 5}}, Geometry{{1, 32, 56, 56}, {16, 32, 1, 1}}}) {
    test::Case c = case_of(geometry, {.bits = 4}, false, 1);
    EXPECT_EQ(kernel_of(compiled(c, active_features(), 1).plan).find("_s8_"), std::string::npos);
  }
}

std::string refusal(const Geometry& geometry, const CodebookFormat& format, std::int64_t groups,
                    bool fixed, bool rounds) {
  Sample sample{
      {{{DType::f32, geometry.x, {}}}, {{DType::f32, geometry.w, Encoding::codebook(format)}}},
      Attrs{{"stride", geometry.stride},
            {"padding", geometry.padding},
            {"dilation", geometry.dilation},
            {"groups", groups}}};
  Rng rng(1, 1);
  const test::Case c = test::make_case(kConv2d, sample, rng);
  for (const KernelRow& row : conv2d_rows()) {
    if (row.name == "conv2d_s8_cb_ref")
      return test::run_row(c, row, {.fixed = fixed, .rounds = rounds}).refusal;
  }
  return "no row";
}

TEST_F(Int8ConvTest, SaysWhatItRefuses) {
  const Geometry& wins = kWinning[1];
  EXPECT_EQ(refusal(wins, {.bits = 4}, 1, true, true), "");
  EXPECT_EQ(refusal(wins, {.bits = 4}, 1, true, false), "computes in f32");
  EXPECT_EQ(refusal(wins, {.bits = 4}, 1, false, true), "the weight changes between steps");
  EXPECT_EQ(refusal(wins, {.bits = 4, .vector_len = 2}, 1, true, true),
            "entries of several weights");
  EXPECT_EQ(refusal(wins, {.bits = 4, .scale_block = 32}, 1, true, true),
            "scale blocks of parts of a row");
  EXPECT_EQ(refusal(wins, {.bits = 4, .group_rows = 8}, 1, true, true),
            "row groups are no multiple of 16");
  // Two taps that far apart: the bytes of an image would not fit into any number.
  constexpr std::int64_t kFar = (1 << 20) - 1;
  EXPECT_EQ(refusal({{2, 4096, 1, 1}, {16, 4096, 2, 2}, {1, 1}, {kFar, kFar, 0, 0}, {kFar, kFar}},
                    {.bits = 1}, 1, true, true),
            "an image with its borders is out of proportion to it");
  EXPECT_EQ(refusal({{1, 64, 12, 12}, {64, 1, 3, 3}}, {.bits = 4}, 64, true, true),
            "groups: few products for each value of the images");
  EXPECT_EQ(refusal({{1, 32, 56, 56}, {16, 32, 1, 1}}, {.bits = 4}, 1, true, true),
            "few products for each value of the images");
}

}  // namespace
}  // namespace tessera
