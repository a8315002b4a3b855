// Quantized activations: ranges, levels in the graph, training, saving.
#include "quant/calibrate/activations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "core/compile.h"
#include "nn/classification.h"
#include "nn/conv.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/method/compress.h"
#include "quant/method/mocq.h"
#include "tests/accuracy.h"
#include "tests/fill_xy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using tessera::testing::fill_xy;
using Kind = ActivationOptions::Kind;

const nn::Classification task({20}, 4);

ActivationOptions options(Kind kind, int bits) {
  ActivationOptions out;
  out.kind = kind;
  out.bits = bits;
  return out;
}

TEST(ActivationRange, ZeroIsALevelAndPositiveValuesStartThere) {
  const std::vector<float> values = {0, 0.5f, 1, 2, 3};
  EXPECT_EQ(fit_range(values, options(Kind::minmax, 4)).low, 0);
  EXPECT_NEAR(fit_range(values, options(Kind::minmax, 4)).high, 3, 1e-12);
  for (const int bits : {1, 2, 4, 8}) {
    const std::vector<float> both = {-1.3f, 0.1f, 2.9f};
    const auto range = fit_range(both, options(Kind::minmax, bits));
    const double steps = -range.low / ((range.high - range.low) / ((1 << bits) - 1));
    EXPECT_NEAR(steps, std::nearbyint(steps), 1e-9) << bits;
  }
  const std::vector<float> zeros(5, 0.0f);
  EXPECT_GT(fit_range(zeros, options(Kind::mse, 2)).high, 0);
}

TEST(ActivationRange, OutliersLoseToManySmallValues) {
  std::vector<float> values(10000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 100) / 100;
  values[7] = 50;
  EXPECT_NEAR(fit_range(values, options(Kind::minmax, 2)).high, 50, 1e-6);
  EXPECT_LT(fit_range(values, options(Kind::percentile, 2)).high, 1.01);
  // At 8 bits the outlier costs more than coarser steps, at 2 bits less.
  const double fine = fit_range(values, options(Kind::mse, 8)).high,
               coarse = fit_range(values, options(Kind::mse, 2)).high;
  EXPECT_GT(fine, coarse);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(fit_range(values, options(Kind::mse, 4)), Error);
}

std::shared_ptr<const nn::Network> network() {
  auto net = std::make_shared<nn::Sequential>();
  net->add("fc1", nn::Linear(20, 24)).add("act1", nn::ReLU());
  net->add("fc2", nn::Linear(24, 24)).add("act2", nn::ReLU());
  net->add("fc3", nn::Linear(24, 4));
  return nn::as_network(net);
}

// The values that fc2 and fc3 see in inference.
std::set<float> seen(const nn::Network& network, const State& state, const std::string& layer) {
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph);
  const Value x = graph.input("x", {DType::f32, Shape{kBatch, 20}, {}});
  network.forward(scope, {{"x", x}});
  // The layer's input is what its product reads.
  const Node* weight = graph.find_leaf(layer);
  for (const Node& node : graph.nodes()) {
    for (const Value input : node.inputs()) {
      if (input && input.node == weight) graph.set_output("seen", node.input(0));
    }
  }
  Tensor data(DType::f32, {64, 20}), labels(DType::s32, {64});
  fill_xy(test::Scores(), -1, 0, data, labels);
  const Tensor out = compile(graph, state, {.batch = 64}).run({{"x", data}}).at("seen");
  const auto values = out.span<float>();
  return {values.begin(), values.end()};
}

TEST(QuantizedActivations, LayersSeeFewValuesAndTheFirstOneAll) {
  const auto net = network();
  nn::Trainer trainer = nn::classifier(net, {20}, 4);
  for (const Kind kind : {Kind::dorefa, Kind::minmax, Kind::mse, Kind::learned}) {
    for (const int bits : {1, 2, 4}) {
      const auto quantized =
          quantize_activations(net, task, trainer.state(), test::Scores(), options(kind, bits));
      nn::Trainer with = nn::classifier(quantized, {20}, 4);
      const auto values = seen(*quantized, with.state(), "fc3.weight");
      EXPECT_LE(values.size(), std::size_t{1} << bits) << static_cast<int>(kind) << " " << bits;
      EXPECT_GE(values.size(), 2u);
      EXPECT_TRUE(values.contains(0.0f));
      EXPECT_GT(seen(*quantized, with.state(), "fc1.weight").size(), 300u);
    }
  }
}

TEST(ActivationRanges, AreTextAndBack) {
  const ActivationRanges ranges = {{"a.weight", {-0.1, 1.0 / 3}}, {"b", {0, 1e-30}}};
  const ActivationRanges again = parse_activation_ranges(text(ranges));
  ASSERT_EQ(again.size(), 2u);
  for (const auto& [name, range] : ranges) {
    EXPECT_EQ(again.at(name).low, range.low);
    EXPECT_EQ(again.at(name).high, range.high);
  }
  EXPECT_TRUE(parse_activation_ranges("").empty());
  for (const char* bad : {"a 1 0\n", "a 1 1\n", "a 1\n", "a 0 x\n", "a 0 1 2\n", "a 0 nan\n",
                          "a 0 inf\n", "a 0 1\na 0 2\n", "\n"})
    EXPECT_THROW(parse_activation_ranges(bad), Error) << bad;
}

// Sorted by class, as folders of pictures are: the second half is ten times as large.
class Sorted final : public tessera::testing::Labelled {
 public:
  Sorted() : Labelled("sorted", 100, {20}, 4) {}

 protected:
  std::int32_t make(std::int64_t at, std::span<float> x) const override {
    std::fill(x.begin(), x.end(), at < 50 ? 1.0f : 10.0f);
    return 0;
  }
};

TEST(QuantizedActivations, CalibrationSeesTheWholeSetAndEverySample) {
  const auto net = network();
  nn::Trainer trainer = nn::classifier(net, {20}, 4);
  const auto high = [&](std::int64_t samples) {
    ActivationOptions all = options(Kind::minmax, 4);
    all.samples = samples;
    return calibrate_activations(*net, task, trainer.state(), Sorted(), all).at("fc1.weight").high;
  };
  EXPECT_NEAR(high(20), 10, 1e-5);  // not the first twenty
  EXPECT_NEAR(high(2), 10, 1e-5);   // fewer than a batch
  EXPECT_THROW(high(0), Error);
}

TEST(QuantizedActivations, TrainWithTheirRanges) {
  const auto net = network();
  nn::TrainerOptions training;
  training.batch = 50;
  nn::Trainer plain = nn::classifier(net, {20}, 4, training);
  const auto quantized =
      quantize_activations(net, task, plain.state(), test::Scores(), options(Kind::learned, 2));
  nn::Trainer trainer = nn::classifier(quantized, {20}, 4, training);
  ASSERT_TRUE(trainer.state().has("fc2.weight.input_high"));
  const float before = trainer.state().get("fc2.weight.input_high").item();
  nn::Position position;
  for (int epoch = 0; epoch < 25; ++epoch)
    trainer.train_epoch(test::Scores(), position, nn::constant(0.03));
  EXPECT_NE(trainer.state().get("fc2.weight.input_high").item(), before);
  EXPECT_GT(tessera::testing::accuracy(trainer.evaluate(test::Scores())), 0.85);
}

// act2(act1(fc1 x) + fc2 act1(fc1 x)), as far as its last layers are wanted.
std::shared_ptr<const nn::Module> stream(bool last) {
  nn::Sequential body;
  body.add("fc2", nn::Linear(24, 24));
  nn::Sequential net;
  net.add("fc1", nn::Linear(20, 24)).add("act1", nn::ReLU());
  net.add("", nn::Residual(std::move(body)));
  if (last) net.add("act2", nn::ReLU());
  return nn::share(std::move(net));
}

// Distinct values of the network's result; without the body's product of its stream alone.
std::set<float> values(const nn::Network& network, bool body) {
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph);
  graph.set_output(
      "y", network.forward(scope, {{"x", graph.input("x", f32({kBatch, 20}))}}).at("logits"));
  State state;
  nn::initialize(state, scope.parameters(), 1);
  if (!body) {
    state.set("fc2.weight", Tensor(DType::f32, {24, 24}));
    state.set("fc2.bias", Tensor(DType::f32, {24}));
  }
  Tensor data(DType::f32, {64, 20}), labels(DType::s32, {64});
  fill_xy(test::Scores(), -1, 0, data, labels);
  const Tensor out = compile(graph, state, {.batch = 64}).run({{"x", data}}).at("y");
  const auto all = out.span<float>();
  return {all.begin(), all.end()};
}

TEST(QuantizedActivations, BehindActivationFunctionsTheStreamIsQuantized) {
  ActivationOptions inputs = options(Kind::dorefa, 2), all = inputs;
  all.place = ActivationOptions::Place::activations;
  const auto count = [](auto net, const ActivationOptions& at, bool body) {
    return values(QuantizedActivations(nn::as_network(std::move(net)), at), body).size();
  };
  // What the shortcut carries on, and what the activation function behind the sum gives.
  EXPECT_GT(count(stream(false), inputs, false), 300u);
  EXPECT_LE(count(stream(false), all, false), 4u);
  EXPECT_GT(count(stream(true), inputs, true), 300u);
  for (const float v : values(QuantizedActivations(nn::as_network(stream(true)), all), true))
    EXPECT_NEAR(3 * v, std::nearbyint(3 * v), 1e-6);
  // What follows no activation function is left alone, as a network's bare stem.
  nn::Sequential body, bare;
  body.add("act", nn::ReLU()).add("fc2", nn::Linear(24, 24));
  bare.add("fc1", nn::Linear(20, 24)).add("", nn::Residual(std::move(body)));
  EXPECT_GT(count(nn::share(std::move(bare)), all, false), 300u);
}

TEST(QuantizedActivations, RangesBehindActivationFunctions) {
  const auto net = network();
  nn::Trainer plain = nn::classifier(net, {20}, 4);
  ActivationOptions learned = options(Kind::learned, 2);
  learned.place = ActivationOptions::Place::activations;
  const auto ranges = calibrate_activations(*net, task, plain.state(), test::Scores(), learned);
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_TRUE(ranges.contains("act1"));
  EXPECT_TRUE(ranges.contains("act2"));
  nn::Trainer trainer = nn::classifier(
      quantize_activations(net, task, plain.state(), test::Scores(), learned), {20}, 4);
  ASSERT_TRUE(trainer.state().has("act2.output_high"));
  EXPECT_FLOAT_EQ(trainer.state().get("act2.output_high").item(),
                  static_cast<float>(ranges.at("act2").high));
  EXPECT_TRUE(is_activation_range("act2.output_high"));
  EXPECT_TRUE(is_activation_range("act2.output_low"));
  EXPECT_FALSE(is_activation_range("act2.output"));
}

// A network with calibrated ranges as its own teacher: there its layers stand behind a path.
TEST(QuantizedActivations, DistilFromThemselves) {
  const auto net = network();
  nn::Trainer plain = nn::classifier(net, {20}, 4);
  for (const Kind kind : {Kind::mse, Kind::learned}) {
    nn::Trainer trainer = nn::classifier(
        quantize_activations(net, task, plain.state(), test::Scores(), options(kind, 4)), {20}, 4,
        {.batch = 50});
    MocqOptions how;
    how.schedule = {.epochs = 2, .lr = 0.01};
    how.distill.kind = DistillOptions::Kind::teacher;
    Mocq mocq(how);
    const auto plan = plan_compression(trainer.parameters(), trainer.state(),
                                       {{CodebookSpec::adaptive(4), 0}, {}});
    EXPECT_TRUE(compress(trainer, test::Scores(), plan, mocq).finished);
  }
}

TEST(QuantizedActivations, RefusesWhatItCannotServe) {
  EXPECT_THROW(QuantizedActivations(network(), options(Kind::mse, 9)), Error);
  EXPECT_THROW(ActivationOptions::kinds().parse("int4"), Error);
  const QuantizedActivations uncalibrated(network(), options(Kind::mse, 4));
  EXPECT_EQ(test::error_of([&] { nn::inference_graph(uncalibrated, task); }),
            "'fc2.weight': its input has no calibrated range");
  ActivationOptions at = options(Kind::dorefa, 4);
  at.place = ActivationOptions::Place::activations;
  const QuantizedActivations nothing(
      nn::as_network(nn::share(nn::Sequential(nn::Linear(20, 4), nn::Flatten()))), at);
  EXPECT_EQ(test::error_of([&] { nn::inference_graph(nothing, task); }),
            "the network has no activation function whose output could be quantized");
  EXPECT_THROW(ActivationOptions::places().parse("weights"), Error);
}

}  // namespace
}  // namespace tessera::quant
