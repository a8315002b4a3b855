#include "models/darknet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "core/compile.h"
#include "ops/op_list.h"
#include "tests/error_of.h"
#include "tests/mutated.h"

namespace tessera::models {
namespace {

using tessera::testing::error_of;
using ::testing::HasSubstr;

// Every kind of layer there is.
const char* const kSmall = R"(# a detector
[net]
width=8
height=4
learning_rate=0.1

[convolutional]
filters=4
size=3
stride=1
pad=1
batch_normalize=1
activation=leaky
[maxpool]
size=3
stride=1
[dropout]
probability=.1
[shortcut]
from=-2
activation=linear
[maxpool]
size=2
stride=2
padding=0
[upsample]
stride=2
[route]
layers = -1, 3
[convolutional]
groups=2
filters=14
size=1
pad=1
activation=linear
[yolo]
mask = 0,1
anchors = 2,4, 8,2, 1,1
classes=2
scale_x_y=1.2
)";

std::string changed(std::string from, const std::string& to) {
  std::string text = kSmall;
  const auto at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return error_of([&] { Darknet::parse(text.replace(at, from.size(), to), "a.cfg"); });
}

TEST(Darknet, DecodesBoxesByAnchorsAndCells) {
  const Darknet network = Darknet::parse(kSmall, "a.cfg");
  EXPECT_EQ(network.sample(), Shape({3, 4, 8}));
  EXPECT_EQ(network.classes(), 2);
  EXPECT_EQ(network.places(), 2 * 4 * 8);
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph);
  for (const auto& [name, value] :
       network.forward(scope, {{"x", graph.input("x", f32({kBatch, 3, 4, 8}))}}))
    graph.set_output(name, value);
  State state;
  nn::initialize(state, scope.parameters(), 1);
  nn::initialize(state, scope.states(), 1);
  // The head gives its bias alone: per anchor x, y, w, h, objectness, two classes.
  state.set("7.conv.weight", Tensor(DType::f32, state.get("7.conv.weight").shape()));
  const std::vector<float> bias = {0, 1, 0.5f, -0.5f, 2, -1, 1, 0.25f, 0, 0, 0, 0, 3, 3};
  state.set("7.conv.bias", Tensor::from(bias, Shape{14}));
  const auto out =
      compile(graph, state, {.batch = 1}).run({{"x", Tensor(DType::f32, {1, 3, 4, 8})}});
  const auto boxes = out.at("boxes").span<float>(), scores = out.at("scores").span<float>();
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  // Anchor 1, row 2, column 5.
  const std::size_t place = 32 + 2 * 8 + 5;
  EXPECT_NEAR(boxes[4 * place], (5 + sigmoid(0.25) * 1.2 - 0.1) / 8, 1e-6);
  EXPECT_NEAR(boxes[4 * place + 1], (2 + 0.5) / 4, 1e-6);
  EXPECT_NEAR(boxes[4 * place + 2], 8.0 / 8, 1e-6);
  EXPECT_NEAR(boxes[4 * place + 3], 2.0 / 4, 1e-6);
  EXPECT_NEAR(scores[2 * place + 1], 0.5 * sigmoid(3), 1e-6);
  // Anchor 0, row 0, column 7.
  EXPECT_NEAR(boxes[4 * 7 + 1], (sigmoid(1) * 1.2 - 0.1) / 4, 1e-6);
  EXPECT_NEAR(boxes[4 * 7 + 2], std::exp(0.5) * 2 / 8, 1e-6);
  EXPECT_NEAR(scores[2 * 7], sigmoid(2) * sigmoid(-1), 1e-6);
}

TEST(Darknet, SaysWhatItDoesNotUnderstand) {
  EXPECT_EQ(changed("activation=leaky", "activation=elu"),
            "a.cfg:13: [convolutional] the activation 'elu' is unknown; there are linear, leaky, "
            "relu, logistic, swish, mish");
  EXPECT_EQ(changed("stride=1\npad=1", "stride=0\npad=1"),
            "a.cfg:10: [convolutional] stride: expected a whole number from 1 to 64, got '0'");
  EXPECT_EQ(changed("pad=1\nbatch", "pads=1\nbatch"),
            "a.cfg:11: [convolutional] the option 'pads' is not understood");
  EXPECT_EQ(changed("[dropout]", "[lstm]"), "a.cfg:17: [lstm] this kind of layer is unknown");
  EXPECT_EQ(changed("from=-2", "from=-9"),
            "a.cfg:20: [shortcut] from: expected a whole number from -3 to 2, got '-9'");
  EXPECT_THAT(changed("layers = -1, 3", "layers = -1, 4"), HasSubstr("layer 4 gives 4 x 2 x 4"));
  EXPECT_THAT(changed("filters=14", "filters=16"),
              HasSubstr("reads 16 channels, expected 14: 2 anchors of 5 + 2"));
  EXPECT_THAT(changed("groups=2", "groups=3"), HasSubstr("in 3 groups"));
  EXPECT_THAT(changed("mask = 0,1", "mask = 0,3"), HasSubstr("whole number from 0 to 2, got '3'"));
  EXPECT_THAT(changed("width=8", "width=0"), HasSubstr("a.cfg:3: [net] width"));
  EXPECT_THAT(changed("width=8", "width"), HasSubstr("a.cfg:3: expected OPTION=VALUE"));
  EXPECT_THAT(changed("[net]", "[yolo]"), HasSubstr("expected [net] as the first section"));
  EXPECT_THAT(changed("width=8", "width=8\nwidth=9"),
              HasSubstr("a.cfg:4: [net] width is there twice"));
  EXPECT_THAT(changed("size=3\nstride=1\n[dropout]", "size=40\nstride=1\npadding=0\n[dropout]"),
              HasSubstr("a window of 40 does not fit on 4 pixels"));
  EXPECT_THAT(error_of([] { Darknet::parse("[net]\nwidth=4\nheight=4\n", "a.cfg"); }),
              HasSubstr("no [yolo] layer"));
  EXPECT_THAT(error_of([] { Darknet::parse("", "a.cfg"); }), HasSubstr("[net]"));
}

// Whatever was done to the text: a network that can be built, or a line that says why not.
TEST(Darknet, MutatedLayersAreReadOrRefused) {
  const int read = testing::read_mutated(kSmall, 4000, 1, [](const std::string& text) {
    const Darknet network = Darknet::parse(text, "a.cfg");
    Graph graph(ops::standard_ops());
    nn::Scope scope(graph);
    Shape sample{kBatch};
    const Shape own = network.sample();
    for (const Dim d : own.dims()) sample.push_back(d);
    network.forward(scope, {{"x", graph.input("x", {DType::f32, sample, {}})}});
  });
  EXPECT_GT(read, 100);  // changes in numbers, say
  EXPECT_LT(read, 3000);
}

TEST(Darknet, MutatedWeightsAreReadOrRefused) {
  const Darknet network = Darknet::parse(kSmall, "a.cfg");
  const auto file = std::filesystem::path(::testing::TempDir()) / "darknet_mutated.weights";
  std::string good("\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  good.append(4 * (4 * 4 + 4 * 3 * 9 + 14 + 14 * 4), '\0');
  const int read = testing::read_mutated(good, 2000, 2, [&](const std::string& bytes) {
    testing::write_anew(file, bytes);
    const State state = network.read_weights(file);
    EXPECT_EQ(state.get("7.conv.weight").numel(), 56);
  });
  EXPECT_GT(read, 100);
  EXPECT_LT(read, 1500);
  std::filesystem::remove(file);
}

TEST(Darknet, WeightsMustBeAsManyAsTheLayersWant) {
  const Darknet network = Darknet::parse(kSmall, "a.cfg");
  const auto file = std::filesystem::path(::testing::TempDir()) / "darknet_test.weights";
  constexpr std::size_t kNumbers = 4 * 4 + 4 * 3 * 9 + 14 + 14 * 4;
  const auto written = [&](std::size_t numbers, std::int32_t minor, float last) {
    std::ofstream out(file, std::ios::binary);
    const std::int32_t version[3] = {0, minor, 0};
    out.write(reinterpret_cast<const char*>(version), 12);
    const std::int64_t seen = 0;
    out.write(reinterpret_cast<const char*>(&seen), minor >= 2 ? 8 : 4);
    for (std::size_t i = 0; i < numbers; ++i) {
      const float v = i + 1 == numbers ? last : static_cast<float>(i);
      out.write(reinterpret_cast<const char*>(&v), 4);
    }
  };
  for (const int minor : {1, 2}) {
    written(kNumbers, minor, 7);
    const State state = network.read_weights(file);
    EXPECT_EQ(state.get("0.norm.bias").span<float>()[1], 1);
    EXPECT_EQ(state.get("0.norm.weight").span<float>()[0], 4);
    EXPECT_EQ(state.get("0.norm.running_var").span<float>()[3], 15);
    EXPECT_EQ(state.get("0.conv.weight").span<float>()[0], 16);
    EXPECT_EQ(state.get("7.conv.bias").span<float>()[0], 16 + 108);
    EXPECT_EQ(state.get("7.conv.weight").span<float>()[55], 7);
  }
  const auto error = [&] { return error_of([&] { network.read_weights(file); }); };
  written(kNumbers - 1, 2, 7);
  EXPECT_THAT(error(), HasSubstr("ends within '7.conv.weight'"));
  written(kNumbers + 2, 2, 7);
  EXPECT_THAT(error(), HasSubstr("8 bytes more than the layers"));
  written(kNumbers, 2, std::nanf(""));
  EXPECT_THAT(error(), HasSubstr("'7.conv.weight' has a value that is not finite"));
  std::ofstream(file) << "no weights";
  EXPECT_THAT(error(), HasSubstr("too few for darknet weights"));
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace tessera::models
