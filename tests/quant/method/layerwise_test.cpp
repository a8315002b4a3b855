// gptq and lnq on whole networks, and the moments that they go by.
#include "quant/method/layerwise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/calibrate/input_moments.h"
#include "quant/calibrate/layers.h"
#include "quant/fit/output_fit.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::error_of;
using test::Noise;
using test::Scores;

// For outputs of a layer with any weights: their mean square is what the moments say it is.
TEST(InputMoments, GiveTheMeanSquareOfAnyLayersOutput) {
  nn::Trainer t = nn::classifier(test::noise_network(), {3, 9, 8}, 3);
  const Noise data(40);
  const CalibrationSet samples(data, 40);
  const auto plan =
      plan_compression(t.parameters(), t.state(), {{CodebookSpec::adaptive(3), 0}, {}});
  const Graph graph = nn::inference_graph(t);
  for (const Layer& layer : layers_of(graph, plan.compressed())) {
    const Tensor y = activations(layer.node->output(), t.state(), samples);
    double got = 0;
    for (const float v : y.span<float>()) got += double{v} * v;
    const Shape& shape = layer.node->input(1).shape();
    const std::int64_t rows = shape[0].value(), columns = shape.numel() / rows;
    got /= static_cast<double>(y.numel() / rows);  // by position
    const auto w = t.state().get(layer.name).span<float>();
    double want = 0;
    std::int64_t tiled = 0;
    for (const InputMoments& p : input_moments(layer, t.state(), samples)) {
      tiled += p.rows * p.columns;
      for (std::int64_t r = p.row; r < p.row + p.rows; ++r) {
        for (std::int64_t i = 0; i < p.columns; ++i) {
          for (std::int64_t j = 0; j < p.columns; ++j)
            want += double{w[static_cast<std::size_t>(r * columns + p.column + i)]} *
                    p.moments[static_cast<std::size_t>(i * p.columns + j)] *
                    w[static_cast<std::size_t>(r * columns + p.column + j)];
        }
      }
    }
    EXPECT_EQ(tiled, shape.numel()) << layer.name;
    EXPECT_NEAR(got, want, 1e-4 * want) << layer.name;
  }
}

// One convolution of pictures of two sizes, as a detector's heads are.
TEST(InputMoments, OfASharedWeightAreThoseOfAllItsReaders) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({kBatch, 3, 9, 8})),
              weight = graph.param("shared", f32({5, 3, 3, 3}));
  const Value small = ops::slice(ops::slice(x, 2, 0, 4), 3, 2, 7) * 2.0;
  const Value a = ops::conv2d(x, weight), b = ops::conv2d(small, weight);
  graph.set_output("a", a);
  graph.set_output("b", b);
  const auto layers = layers_of(graph, {"shared"});
  ASSERT_EQ(layers.size(), 1u);
  State state;
  Tensor w(DType::f32, {5, 3, 3, 3});
  Rng rng(3, 1);
  for (float& v : w.span<float>()) v = rng.normal();
  state.set("shared", w);
  const Noise data(20);
  const CalibrationSet samples(data, 20);
  double got = 0, positions = 0;
  for (const Value& y : {a, b}) {
    const Tensor values = activations(y, state, samples);
    positions += static_cast<double>(values.numel()) / 5;
    for (const float v : values.span<float>()) got += double{v} * v;
  }
  const auto parts = input_moments(layers[0], state, samples);
  ASSERT_EQ(parts.size(), 1u);
  double want = 0;
  for (std::size_t r = 0; r < 5; ++r) {
    for (std::size_t i = 0; i < 27; ++i) {
      for (std::size_t j = 0; j < 27; ++j)
        want += double{w.span<float>()[r * 27 + i]} * parts[0].moments[i * 27 + j] *
                w.span<float>()[r * 27 + j];
    }
  }
  EXPECT_NEAR(got / positions, want, 1e-4 * want);
}

TEST(InputMoments, NamesTheLayerWithNumbersThatAreNone) {
  nn::Trainer t = nn::classifier(test::noise_network(), {3, 9, 8}, 3);
  const CalibrationSet samples(Noise(8), 8);
  const Graph graph = nn::inference_graph(t);
  State broken = t.state().clone();
  Tensor weight = broken.get("conv1.weight").clone();
  weight.span<float>()[0] = std::nanf("");
  broken.set("conv1.weight", weight);
  const Layer second = layers_of(graph, {"block.0.weight"})[0];
  EXPECT_NE(error_of([&] { input_moments(second, broken, samples); }).find("'block.0.weight'"),
            std::string::npos);
}

double distance(const nn::Trainer& t, const BatchSource& data, const Codebooks& codebooks) {
  const Graph graph = nn::inference_graph(t);
  const CalibrationSet samples(data, data.samples());
  const Tensor target = activations(graph.output("logits"), t.state(), samples),
               logits = activations(graph.output("logits"), decoded_state(t.state(), codebooks),
                                    samples);
  double sum = 0;
  for (std::size_t i = 0; i < logits.span<float>().size(); ++i)
    sum += std::pow(logits.span<float>()[i] - target.span<float>()[i], 2.0);
  return sum;
}

TEST(Layerwise, BringsLogitsCloserToTheOriginals) {
  nn::Trainer t = nn::classifier(test::noise_network(), {3, 9, 8}, 3);
  const Noise data(96);
  const auto plan =
      plan_compression(t.parameters(), t.state(), {{CodebookSpec::adaptive(3), 0}, {}});
  const auto direct = compress(t, data, plan, direct_compression());
  std::vector<LayerwiseLayer> coded, fitted;
  const auto gptq =
                 compress(t, data, plan, layerwise("gptq", {.samples = 96, .rounds = 0}, &coded)),
             lnq = compress(t, data, plan, layerwise("lnq", {.samples = 96}, &fitted));
  ASSERT_EQ(fitted.size(), 4u);
  EXPECT_EQ(fitted[1].name, "block.0.weight");
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_LT(coded[i].error, coded[i].error_nearest) << fitted[i].name;
    EXPECT_LT(fitted[i].error, fitted[i].error_nearest) << fitted[i].name;
  }
  EXPECT_EQ(fitted[0].error_nearest, coded[0].error_nearest);  // both see the same inputs
  EXPECT_LT(fitted[0].error, coded[0].error);
  const double d = distance(t, data, direct.codebooks), g = distance(t, data, gptq.codebooks),
               l = distance(t, data, lnq.codebooks);
  EXPECT_LT(g, 0.9 * d);
  EXPECT_LT(l, 0.9 * d);
  ASSERT_EQ(lnq.c_steps.size(), 1u);
  EXPECT_GT(lnq.c_steps[0].changed, 0);
  EXPECT_LT(lnq.c_steps[0].changed, 1);
}

// The last layer is fitted to what the coded layers before it give.
TEST(Layerwise, LayersSeeWhatTheCodedOnesBeforeThemGive) {
  nn::Trainer t = test::reference();
  const Scores data;
  const auto plan =
      plan_compression(t.parameters(), t.state(), {{CodebookSpec::adaptive(2), 0}, {}});
  std::vector<LayerwiseLayer> layers;
  Codebooks all = compress(t, data, plan, layerwise("lnq", {.samples = 600}, &layers)).codebooks;
  const CodebookTensor last = all.at("fc2.weight");
  all.erase("fc2.weight");
  const Graph graph = nn::inference_graph(t);
  const Layer layer = layers_of(graph, {"fc2.weight"})[0];
  const CalibrationSet samples(data, 600);
  const auto weights = t.state().get("fc2.weight").span<float>();
  const auto error = [&](const State& state) {
    return OutputFit(weights, 4, input_moments(layer, state, samples), 0.01).error(last);
  };
  EXPECT_DOUBLE_EQ(layers[1].error, error(decoded_state(t.state(), all)));
  EXPECT_NE(layers[1].error, error(t.state()));
}

TEST(Layerwise, RefusesWhatItCannotFit) {
  nn::Trainer t = test::reference();
  const auto refusal = [&](const CodebookSpec& spec, double sparse = 0) {
    Policy policy{{spec, 0}, {}};
    policy.weights.sparse = sparse;
    const auto plan = plan_compression(t.parameters(), t.state(), policy);
    return error_of([&] { compress(t, Scores(), plan, layerwise("lnq", {})); });
  };
  EXPECT_NE(refusal(CodebookSpec::nf4().with_scale_block(4)).find("lnq: 'fc1.weight'"),
            std::string::npos);
  EXPECT_NE(refusal(CodebookSpec::vectors(4, 2)).find("lnq: 'fc1.weight'"), std::string::npos);
  EXPECT_NE(refusal(CodebookSpec::adaptive(2), 0.1).find("sparse"), std::string::npos);
}

}  // namespace
}  // namespace tessera::quant
