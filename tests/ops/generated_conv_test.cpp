// Convolutions by generated code, with images or the channels of a depthwise convolution in lanes:
// every geometry the code is made for, against the reference, and the same bits for any number of
// threads.
#include <gtest/gtest.h>

#include <cmath>

#include "core/parallel.h"
#include "ops/conv/conv.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

struct Geometry {
  Shape x, w;
  Ints stride = {1, 1}, padding = {0, 0, 0, 0}, dilation = {1, 1};
  std::int64_t groups = 1;
};

const Geometry kGeometries[] = {
    {{16, 1, 5, 5}, {1, 1, 5, 5}},                                  // one pixel
    {{31, 3, 6, 26}, {7, 3, 5, 5}},                                 // rows in pieces
    {{16, 2, 4, 4}, {3, 2, 3, 3}, {1, 1}, {3, 3, 3, 3}},            // rows of padding only
    {{13, 2, 9, 8}, {6, 2, 3, 2}, {2, 3}, {1, 0, 2, 1}, {1, 2}},    // strides, dilation
    {{32, 2, 12, 11}, {5, 2, 3, 4}, {1, 1}, {4, 3, 4, 3}, {2, 2}},  // dilation and borders
    {{45, 20, 6, 6}, {50, 20, 5, 5}},                               // LeNet-5's channels
    {{16, 3, 1, 40}, {2, 3, 1, 11}, {1, 1}, {0, 5, 0, 5}},          // many taps in a row
    {{16, 5, 7, 7}, {9, 5, 1, 1}, {1, 1}, {0, 1, 0, 1}},            // pointwise, padded
};
const Geometry kDepthwise[] = {
    {{2, 24, 5, 60}, {24, 1, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 24},  // rows in pieces
    {{1, 17, 9, 11}, {17, 1, 5, 4}, {2, 3}, {2, 1, 0, 3}, {1, 1}, 17},
    {{3, 16, 4, 4}, {16, 1, 3, 3}, {1, 1}, {3, 3, 3, 3}, {1, 1}, 16},  // rows of padding only
    {{2, 16, 40, 9}, {16, 1, 7, 7}, {1, 2}, {3, 3, 3, 3}, {1, 1}, 16},
    {{2, 32, 3, 3}, {32, 1, 1, 1}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 32},  // pixels no tap reads
};

// Runs the row whose name has `family` in it.
void matches_the_reference(const OpDef& op, std::string_view family,
                           std::span<const Geometry> geometries) {
  const auto row = std::find_if(op.rows.begin(), op.rows.end(), [&](const KernelRow& r) {
    return r.name.find(family) != r.name.npos;
  });
  ASSERT_NE(row, op.rows.end());
  if (!test::runs_here(*row)) GTEST_SKIP();
  int ran = 0;
  const int before = num_threads();
  for (const Geometry& geometry : geometries) {
    const Attrs attrs{{"stride", geometry.stride},
                      {"padding", geometry.padding},
                      {"dilation", geometry.dilation},
                      {"groups", geometry.groups}};
    const ConvGeometry g = conv_geometry(attrs, geometry.x, geometry.w);
    const Shape y{g.n, g.out, g.oh, g.ow};
    SCOPED_TRACE(geometry.x.text() + geometry.w.text());
    Sample sample{{}, attrs};
    const auto operand = [&](const Shape& s) { sample.inputs.push_back({{DType::f32, s, {}}}); };
    operand(&op == &kConv2d ? geometry.x : y);
    operand(&op == &kConv2dGradWeight ? geometry.x : geometry.w);
    if (&op != &kConv2d)
      sample.attrs.set("shape", &op == &kConv2dGradInput ? geometry.x : geometry.w);
    Rng rng(1, static_cast<std::uint64_t>(&geometry - geometries.data()));
    const test::Case c = test::make_case(op, sample, rng);
    const auto want = c.reference();
    std::optional<Tensor> first;
    for (const int threads : {1, 2, 5}) {
      set_num_threads(threads);
      const auto run = test::run_row(c, *row);
      if (!run.refusal.empty()) {
        EXPECT_TRUE(run.refusal == "strides" || run.refusal == "code cannot be generated")
            << run.refusal;
        break;
      }
      ++ran;
      if (first) {
        EXPECT_TRUE(equal_bits(*first, run.outputs[0])) << threads << " threads";
        continue;
      }
      first = run.outputs[0];
      for (std::int64_t i = 0; i < want[0].numel(); ++i) {
        const double expected = want[0].v[static_cast<std::size_t>(i)];
        ASSERT_NEAR(element(*first, i), expected, 1e-4 + 1e-5 * std::fabs(expected))
            << "element " << i;
      }
    }
  }
  set_num_threads(before);
  const char* word = std::getenv("TESSERA_JIT");
  if (word == nullptr) EXPECT_GE(ran, 3 * (static_cast<int>(geometries.size()) - 1));
}

class GeneratedConv : public testing::TestWithParam<const OpDef*> {};

TEST_P(GeneratedConv, ImagesInLanes) {
  matches_the_reference(*GetParam(), "_lanes_", kGeometries);
}
TEST_P(GeneratedConv, Depthwise) {
  matches_the_reference(*GetParam(), "_depthwise_avx512", kDepthwise);
}

INSTANTIATE_TEST_SUITE_P(Ops, GeneratedConv,
                         testing::Values(&kConv2d, &kConv2dGradInput, &kConv2dGradWeight),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace tessera
