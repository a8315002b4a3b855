// AdaRound: neighbours only, never worse than nearest, and the layers it must refuse.
#include "quant/method/adaround.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "models/zoo.h"
#include "nn/classification.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "quant/method/compress.h"
#include "quant/method/layerwise.h"
#include "quant/method/lc.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::error_of;
using test::Noise;

// A graph of one linear layer.
struct OneLayer {
  Graph graph{ops::standard_ops()};
  Layer layer;
  OneLayer(std::int64_t in, std::int64_t out) {
    const Value y =
        ops::linear(graph.input("x", f32({kBatch, in})), graph.param("w", f32({out, in})));
    graph.set_output("logits", y);
    layer = layers_of(graph, {"w"})[0];
  }
};

Tensor normal(const Shape& shape, std::uint64_t seed) {
  Tensor out(DType::f32, shape);
  Rng rng(seed, 0);
  for (float& v : out.span<float>()) v = rng.normal();
  return out;
}

// x W^T in f64, for the error of any rounding.
double output_error(const Tensor& x, std::span<const float> w, std::span<const float> q,
                    std::size_t in) {
  double sum = 0;
  const auto values = x.span<float>();
  for (std::size_t s = 0; s < values.size() / in; ++s) {
    for (std::size_t c = 0; c < w.size() / in; ++c) {
      double d = 0;
      for (std::size_t i = 0; i < in; ++i)
        d += static_cast<double>(values[s * in + i]) * (w[c * in + i] - q[c * in + i]);
      sum += d * d;
    }
  }
  return sum;
}

Tensor product(const Tensor& x, std::span<const float> w, std::int64_t in) {
  const std::int64_t n = x.shape()[0].value(), out = static_cast<std::int64_t>(w.size()) / in;
  Tensor y(DType::f32, {n, out});
  for (std::int64_t s = 0; s < n; ++s) {
    for (std::int64_t c = 0; c < out; ++c) {
      double sum = 0;
      for (std::int64_t i = 0; i < in; ++i)
        sum += static_cast<double>(x.span<float>()[static_cast<std::size_t>(s * in + i)]) *
               w[static_cast<std::size_t>(c * in + i)];
      y.span<float>()[static_cast<std::size_t>(s * out + c)] = static_cast<float>(sum);
    }
  }
  return y;
}

// One row of 8 weights on inputs that are strongly correlated: all 2^8 roundings can be tried.
TEST(AdaRound, FindsABetterRoundingThanNearestOftenTheBest) {
  int best_found = 0;
  double nearest_sum = 0, learned_sum = 0, best_sum = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    OneLayer one(8, 1);
    Tensor x = normal({64, 8}, seed);
    for (std::size_t s = 0; s < 64; ++s) {
      const float common = x.span<float>()[s * 8];
      for (std::size_t i = 0; i < 8; ++i) x.span<float>()[s * 8 + i] += 2 * common;
    }
    const Tensor w = normal({1, 8}, 100 + seed);
    const auto weights = w.span<float>();
    const CodebookTensor nearest =
        fit_tensor("w", CodebookSpec::fixed({-1.5f, -0.5f, 0.5f, 1.5f}), {1, 8}, 0, weights);
    RoundedLayer report;
    const CodebookTensor c =
        round_layer(one.layer, nearest, weights, x, product(x, weights, 8), {}, &report);
    std::vector<float> q(8), r(8);
    nearest.decode(q);
    c.decode(r);
    double best = 1e30;
    for (int code = 0; code < 256; ++code) {
      std::vector<float> tried(8);
      for (std::size_t i = 0; i < 8; ++i) {
        const float low = std::clamp(std::floor(weights[i] - 0.5f) + 0.5f, -1.5f, 0.5f);
        tried[i] = low + static_cast<float>(code >> i & 1);
      }
      best = std::min(best, output_error(x, weights, tried, 8));
    }
    const double a = output_error(x, weights, q, 8), b = output_error(x, weights, r, 8);
    EXPECT_LE(b, a * (1 + 1e-6)) << seed;
    EXPECT_GE(b, best * (1 - 1e-5)) << seed;  // only neighbours were taken
    EXPECT_NEAR(report.error / report.error_nearest, b / a, 1e-3) << seed;
    best_found += b < best * (1 + 1e-6);
    nearest_sum += a, learned_sum += b, best_sum += best;
  }
  EXPECT_GE(best_found, 6);
  EXPECT_LT(learned_sum, 0.5 * nearest_sum);
  EXPECT_LT(learned_sum, 2 * best_sum);
}

TEST(AdaRound, EveryWeightTakesOneOfItsNeighbours) {
  OneLayer one(30, 7);
  const Tensor w = normal({7, 30}, 1), x = normal({50, 30}, 2);
  const auto weights = w.span<float>();
  const CodebookTensor nearest = fit_tensor("w", CodebookSpec::adaptive(5), {7, 30}, 3, weights);
  const CodebookTensor c =
      round_layer(one.layer, nearest, weights, x, product(x, weights, 30), {.iterations = 200});
  EXPECT_GT(c.changed, 0);
  EXPECT_EQ(c.entries, nearest.entries);
  EXPECT_GE(c.error, nearest.error);
  std::vector<float> q(weights.size());
  c.decode(q);
  for (std::size_t i = 0; i < q.size(); ++i) {
    const float* entries = c.entries.data() + i / 90 * 5;
    int between = 0;  // entries strictly between the weight and what it became
    for (int k = 0; k < 5; ++k) {
      between += entries[k] > std::min(q[i], weights[i]) && entries[k] < std::max(q[i], weights[i]);
    }
    const bool outside = weights[i] < entries[0] || weights[i] > entries[4];
    EXPECT_LE(between, outside ? 1 : 0) << i;
  }
}

TEST(AdaRound, ConstantsTiesAndFewValuesStayExact) {
  for (const int values : {1, 2, 3}) {
    OneLayer one(10, 4);
    std::vector<float> w(40);
    for (std::size_t i = 0; i < w.size(); ++i) {
      w[i] = -0.5f - 0.25f * static_cast<float>(i % static_cast<std::size_t>(values));
    }
    const Tensor x = normal({20, 10}, 5);
    const CodebookTensor nearest = fit_tensor("w", CodebookSpec::adaptive(8), {4, 10}, 0, w);
    RoundedLayer report;
    const CodebookTensor c =
        round_layer(one.layer, nearest, w, x, product(x, w, 10), {.iterations = 50}, &report);
    std::vector<float> q(40);
    c.decode(q);
    EXPECT_EQ(q, w);
    EXPECT_EQ(c.changed, 0);
    EXPECT_NEAR(report.error, 0, 1e-12);
  }
}

TEST(AdaRound, NamesTheLayerWithNumbersThatAreNone) {
  OneLayer one(4, 2);
  const Tensor w = normal({2, 4}, 1);
  Tensor x = normal({8, 4}, 2);
  const Tensor y = product(x, w.span<float>(), 4);
  x.span<float>()[5] = std::nanf("");
  const CodebookTensor c = fit_tensor("w", CodebookSpec::adaptive(2), {2, 4}, 0, w.span<float>());
  EXPECT_NE(error_of([&] { round_layer(one.layer, c, w.span<float>(), x, y, {}); }).find("'w'"),
            std::string::npos);
}

TEST(Layers, RefusesReadersItCannotRound) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({kBatch, 4}));
  const Value plain = graph.param("plain", f32({4, 4})), tied = graph.param("tied", f32({4, 4})),
              scaled = graph.param("scaled", f32({4, 4}));
  Value y = ops::matmul(x, plain);  // rows of this weight are inputs
  y = ops::linear(ops::linear(y, tied), tied);
  graph.set_output("logits", ops::linear(y, scaled * 2.0));
  EXPECT_EQ(error_of([&] { layers_of(graph, {"plain"}); }),
            "'plain' is read by 'matmul'; expected a convolution or a linear layer");
  const Layer tied_layer = layers_of(graph, {"tied"}).at(0);
  ASSERT_EQ(tied_layer.sharing.size(), 1u);
  EXPECT_EQ(tied_layer.sharing[0]->input(0), tied_layer.node->output());
  EXPECT_EQ(error_of([&] { layers_of(graph, {"scaled"}); }),
            "'scaled' is read by 'mul'; expected a convolution or a linear layer");
  EXPECT_EQ(error_of([&] { layers_of(graph, {"absent"}); }), "the network does not use 'absent'");
}

// lnq takes them, by what all readers see; a rounding is learned for one.
TEST(AdaRound, RefusesWeightsThatLayersShare) {
  auto net = std::make_shared<nn::Sequential>();
  net->add("fc", nn::Linear(20, 20)).add("act", nn::Tanh()).add("fc", nn::Tied(nn::Linear(20, 20)));
  net->add("out", nn::Linear(20, 4));
  nn::Trainer t = nn::classifier(net, {20}, 4);
  const auto plan =
      plan_compression(t.parameters(), t.state(), {{CodebookSpec::adaptive(4), 0}, {}});
  const auto by = [&](const PostTraining& method) {
    return error_of([&] { compress(t, test::Scores(64), plan, method); });
  };
  EXPECT_EQ(by(adaround({.samples = 64, .iterations = 2})),
            "adaround: 'fc.weight' is read by several layers; expected one");
  EXPECT_EQ(by(layerwise("lnq", {.samples = 64})), "no error");
}

// The last layer's rounding is that of its inputs in the network whose other layers are rounded,
// and of its outputs in the original.
TEST(AdaRound, LayersSeeWhatTheRoundedOnesBeforeThemGive) {
  nn::Trainer t = nn::classifier(test::noise_network(), {3, 9, 8}, 3);
  const Noise data(96);
  const auto plan =
      plan_compression(t.parameters(), t.state(), {{CodebookSpec::adaptive(3), 0}, {}});
  const AdaRoundOptions options{.samples = 96, .iterations = 60};
  const PostTraining rounding = adaround(options);
  Codebooks rounded = compress(t, data, plan, rounding).codebooks;
  const Graph graph = nn::inference_graph(t);
  const Layer layer = layers_of(graph, plan.compressed()).back();
  ASSERT_EQ(layer.name, "fc.weight");
  const CodebookTensor got = rounded.at(layer.name);
  rounded.erase(layer.name);
  const CalibrationSet samples(data, 96);
  const Tensor w = t.state().get(layer.name),
               y = activations(layer.node->output(), t.state(), samples);
  const CodebookTensor nearest =
      fit_tensor(layer.name, CodebookSpec::adaptive(3), w.shape(), 0, w.span<float>());
  const auto indices = [&](const State& state) {
    const Tensor x = activations(layer.input(), state, samples);
    return round_layer(layer, nearest, w.span<float>(), x, y, options).indices;
  };
  EXPECT_EQ(got.indices, indices(decoded_state(t.state(), rounded)));
  EXPECT_NE(got.indices, indices(t.state()));
}

TEST(AdaRound, WholeNetworkComesCloserToTheOriginalsLogits) {
  nn::Trainer t = nn::classifier(test::noise_network(), {3, 9, 8}, 3);
  const Noise data(96);
  const auto plan =
      plan_compression(t.parameters(), t.state(), {{CodebookSpec::adaptive(3), 0}, {}});
  const PostTraining dc = direct_compression();
  std::vector<RoundedLayer> layers;
  const PostTraining rounding = adaround({.samples = 96, .iterations = 400}, &layers);
  const auto direct = compress(t, data, plan, dc), rounded = compress(t, data, plan, rounding);
  ASSERT_EQ(layers.size(), 4u);
  EXPECT_EQ(layers[1].name, "block.0.weight");
  for (const RoundedLayer& layer : layers) {
    EXPECT_LE(layer.error, layer.error_nearest) << layer.name;
  }
  EXPECT_LT(layers.back().error, 0.8 * layers.back().error_nearest);
  const Graph graph = nn::inference_graph(t);
  const CalibrationSet samples(data, 96);
  const Tensor target = activations(graph.output("logits"), t.state(), samples);
  const auto distance = [&](const Codebooks& codebooks) {
    const State state = decoded_state(t.state(), codebooks);
    const Tensor logits = activations(graph.output("logits"), state, samples);
    double sum = 0;
    for (std::size_t i = 0; i < logits.span<float>().size(); ++i)
      sum += std::pow(logits.span<float>()[i] - target.span<float>()[i], 2.0);
    return sum;
  };
  EXPECT_LT(distance(rounded.codebooks), 0.9 * distance(direct.codebooks));  // nearest: 1
  ASSERT_EQ(rounded.c_steps.size(), 1u);
  EXPECT_GT(rounded.c_steps[0].changed, 0);
  EXPECT_LT(rounded.c_steps[0].changed, 0.6);
}

TEST(AdaRound, SameSeedSameCodebooks) {
  const auto run = [](std::uint64_t seed) {
    nn::Trainer t = nn::classifier(test::noise_network(), {3, 9, 8}, 3);
    const auto plan =
        plan_compression(t.parameters(), t.state(), {{CodebookSpec::adaptive(4), 0}, {}});
    return compress(t, Noise(), plan, adaround({.samples = 40, .iterations = 60, .seed = seed}))
        .codebooks;
  };
  const Codebooks a = run(1), b = run(1), c = run(2);
  bool differs = false;
  for (const auto& [name, codebook] : a) {
    EXPECT_EQ(codebook.indices, b.at(name).indices) << name;
    differs |= codebook.indices != c.at(name).indices;
  }
  EXPECT_TRUE(differs);
}

// Every weight of every network of the zoo has a layer that it can be rounded in.
TEST(Layers, OfTheWholeZoo) {
  for (const std::string& name : models::names()) {
    SCOPED_TRACE(name);
    const models::Built built = models::build(name);
    Shape shape{kBatch};
    for (const Dim d : built.sample.dims()) shape.push_back(d);
    Graph graph(ops::standard_ops());
    nn::Scope scope(graph);
    graph.set_output("logits",
                     built.network->forward(scope, graph.input("x", {DType::f32, shape, {}})));
    std::vector<std::string> weights;
    for (const auto& p : scope.parameters()) {
      if (p.type.shape.rank() >= 2) weights.push_back(p.name);
    }
    EXPECT_EQ(layers_of(graph, weights).size(), weights.size());
  }
}

}  // namespace
}  // namespace tessera::quant
