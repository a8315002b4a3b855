// Every network of the zoo against the same network in PyTorch (tests/golden/models.py): number of
// parameters, and logits on weights that both make from the parameters' names.
#include "models/zoo.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/autodiff.h"
#include "models/resnet_cifar.h"
#include "nn/classification.h"
#include "nn/schedule.h"
#include "nn/trainer.h"
#include "ops/op_list.h"
#include "tests/golden/golden.h"
#include "tests/labelled.h"

namespace tessera::models {
namespace {

using testing::noise;

struct Specs {
  std::vector<nn::ParameterSpec> parameters, states;
};

Specs specs_of(const Built& built) {
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph);
  Shape shape{kBatch};
  for (const Dim d : built.sample.dims()) shape.push_back(d);
  const Value logits = built.network->forward(scope, graph.input("x", {DType::f32, shape, {}}));
  EXPECT_EQ(logits.shape(), Shape({kBatch, built.classes}));
  return {scope.parameters(), scope.states()};
}

std::int64_t count(const Built& built) {
  std::int64_t n = 0;
  for (const auto& p : specs_of(built).parameters) n += p.type.shape.numel();
  return n;
}

State noise_state(const Built& built) {
  State state;
  const Specs specs = specs_of(built);
  for (const auto& p : specs.parameters) {
    const Shape& shape = p.type.shape;
    const double rows = static_cast<double>(shape[0].value());
    if (p.name.ends_with("bias")) {
      state.set(p.name, noise(p.name, shape, 0.1));
    } else if (shape.rank() == 1) {
      state.set(p.name, noise(p.name, shape, 0.2, 1));
    } else {
      const double fan_in = static_cast<double>(shape.numel()) / rows;
      state.set(p.name, noise(p.name, shape, std::sqrt(6 / fan_in)));
    }
  }
  for (const auto& p : specs.states) {
    const bool variance = p.name.ends_with("running_var");
    state.set(p.name, noise(p.name, p.type.shape, variance ? 0.5 : 0.1, variance ? 1 : 0));
  }
  return state;
}

void expect_logits(const std::string& name, const Built& built, const Json& logits) {
  const Graph graph = nn::inference_graph(*built.network, built.sample);
  Shape shape{1};
  for (const Dim d : built.sample.dims()) shape.push_back(d);
  const Plan plan = compile(graph, noise_state(built), {});
  // oneDNN takes any convolution, some with its plain loops.
  for (const StepInfo& step : plan.steps()) {
    EXPECT_FALSE(step.note.starts_with("ref")) << name << ": " << step.kernel << " " << step.type;
  }
  const auto out = plan.run({{"x", noise("x", shape)}});
  double most = 0;
  for (const auto& v : logits) most = std::max(most, std::abs(v.get<double>()));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    EXPECT_NEAR(out.at("logits").span<float>()[i], logits[i].get<double>(), 2e-4 * most)
        << name << " " << i;
  }
}

class EveryNetwork : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryNetwork, IsPyTorchs) {
  const Json all = testing::golden("models.json");
  const std::string name = GetParam();
  if (name.starts_with("lenet300")) {
    EXPECT_EQ(count(build(name)), 266'610);
    return;
  }
  ASSERT_TRUE(all.contains(name)) << name;
  const Json expected = all[name];
  EXPECT_EQ(count(build(name)), expected["parameters"].get<std::int64_t>());
  const auto sample = expected["sample"].get<std::vector<std::int64_t>>();
  expect_logits(name, build(name, {.classes = 5, .sample = Shape::of(sample)}), expected["logits"]);
}

// The loss reaches every parameter, and every running statistic is updated.
TEST_P(EveryNetwork, HasATrainingStep) {
  const Built built = build(GetParam());
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph, /*training=*/true);
  Shape shape{kBatch};
  for (const Dim d : built.sample.dims()) shape.push_back(d);
  const Value logits = built.network->forward(scope, graph.input("x", {DType::f32, shape, {}}));
  const Value y = graph.input("y", {DType::s32, Shape{kBatch}, {}});
  std::vector<Value> parameters;
  for (const auto& p : scope.parameters()) parameters.push_back(graph.param(p.name, p.type));
  for (const Value g : grad(ops::mean(ops::cross_entropy(logits, y)), parameters)) {
    EXPECT_FALSE(g.node->inputs().empty());
  }
  EXPECT_EQ(graph.updates().size(), scope.states().size());
}

INSTANTIATE_TEST_SUITE_P(Zoo, EveryNetwork, ::testing::ValuesIn(names()),
                         [](const auto& info) { return info.param; });

// Four images of noise, one of each class.
class Noise final : public testing::Labelled {
 public:
  Noise() : Labelled("noise", 4, {3, 16, 16}, 5) {}

 protected:
  std::int32_t make(std::int64_t at, std::span<float> x) const override {
    const Tensor all = noise("x", {4, 3, 16, 16});
    const auto from = all.span<float>().subspan(static_cast<std::size_t>(at) * x.size(), x.size());
    std::copy(from.begin(), from.end(), x.begin());
    return static_cast<std::int32_t>(at);
  }
};

TEST(Zoo, TrainsAsPyTorch) {
  const Json expected = testing::golden("models.json")["training"];
  const Shape sample{3, 16, 16};
  const auto network = nn::share(resnet_cifar(8, 5));
  nn::TrainerOptions options;
  options.batch = 4;
  options.optimizer.weight_decay = 1e-2;
  nn::Trainer trainer = nn::classifier(network, sample, 5, options);
  nn::set_weights(trainer, noise_state({network, sample, 5}));
  nn::Position position;
  for (const auto& loss : expected["losses"]) {
    const auto report = trainer.train_epoch(Noise(), position, nn::constant(0.02));
    EXPECT_NEAR(report.loss, loss.get<double>(), 1e-3 * loss.get<double>());
  }
  const auto near = [](const Tensor& actual, const Json& values, const std::string& what) {
    double most = 0;
    for (const auto& v : values) most = std::max(most, std::abs(v.get<double>()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(element(actual, static_cast<std::int64_t>(i)), values[i].get<double>(),
                  1e-3 * most)
          << what << " " << i;
    }
  };
  for (const auto& [name, values] : expected["state"].items()) {
    near(trainer.state().get(name), values, name);
  }
  const auto out =
      compile(nn::inference_model(trainer), {.batch = 4}).run({{"x", noise("x", {4, 3, 16, 16})}});
  near(out.at("logits"), expected["logits"], "logits");
}

TEST(Zoo, WidthMultiplies) {
  const Json expected = testing::golden("models.json")["mobilenet_v2 0.5"];
  const auto built = build("mobilenet_v2_cifar", {.width = 0.5});
  EXPECT_EQ(count(built), expected["parameters"].get<std::int64_t>());
  expect_logits("mobilenet_v2 0.5", build("mobilenet_v2_cifar", {.classes = 5, .width = 0.5}),
                expected["logits"]);
  EXPECT_EQ(count(build("resnet20", {.width = 2})), count(build("resnet20x2")));
}

TEST(Zoo, StemWithoutReLU) {
  const auto activations = [](const Built& built) {
    Graph graph(ops::standard_ops());
    nn::Scope scope(graph);
    std::vector<std::string> out;
    scope.set_activation_hook([&](nn::Scope&, const std::string& path, Value y) {
      out.push_back(path);
      return y;
    });
    built.network->forward(scope, graph.input("x", Field{"x", DType::f32, built.sample}.type()));
    return out;
  };
  const Built usual = build("resnet20x2"), linear = build("resnet20x2", {.stem_relu = false});
  EXPECT_EQ(count(usual), count(linear));
  auto paths = activations(usual);
  ASSERT_EQ(paths.size(), 19u);
  EXPECT_EQ(paths.front(), "relu1");
  paths.erase(paths.begin());
  EXPECT_EQ(activations(linear), paths);
  EXPECT_EQ(paths.front(), "layer1.0.relu1");
  EXPECT_EQ(paths.back(), "layer3.2.relu2");
}

TEST(Zoo, OtherInputs) {
  EXPECT_EQ(build("lenet5", {.sample = Shape{3, 32, 32}}).sample, Shape({3, 32, 32}));
  EXPECT_EQ(count(build("lenet5", {.sample = Shape{3, 32, 32}})),
            3 * 20 * 25 + 20 + 20 * 50 * 25 + 50 + 50 * 25 * 500 + 500 + 5010);
  specs_of(build("vgg16", {.classes = 100, .sample = Shape{1, 64, 32}}));
  specs_of(build("resnet18_cifar", {.classes = 100, .sample = Shape{1, 28, 28}}));
}

std::string error_of(std::string_view name, const BuildOptions& options = {}) {
  try {
    build(name, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Zoo, Mistakes) {
  EXPECT_TRUE(
      error_of("resnet19")
          .starts_with(
              "network: 'resnet19' is unknown; did you mean 'resnet18'? Known are lenet300, "))
      << error_of("resnet19");
  EXPECT_EQ(error_of("vgg16", {.width = 2}), "vgg16: has no width multiplier");
  EXPECT_EQ(error_of("vgg16", {.stem_relu = false}),
            "vgg16: has no choice of a ReLU behind its stem");
  EXPECT_EQ(error_of("vgg16", {.classes = 0}), "vgg16: needs at least one class, got 0");
  EXPECT_EQ(error_of("vgg16", {.sample = Shape{3, 16, 16}}),
            "vgg16 needs larger images than [3,16,16]");
  EXPECT_EQ(error_of("lenet5", {.sample = Shape{784}}),
            "lenet5 takes images [channels,height,width], got [784]");
  EXPECT_EQ(error_of("lenet5", {.sample = Shape{1, 8, 28}}),
            "lenet5 needs images of 16x16 or more, got [1,8,28]");
  EXPECT_EQ(error_of("resnet20", {.width = -1}),
            "the width multiplier must be above 0 and at most 64, got -1");
  EXPECT_EQ(error_of("resnet20", {.sample = Shape{kBatch, 3, 3}}),
            "resnet20: a sample cannot be [batch,3,3]");
  EXPECT_EQ(error_of("lenet300", {.classes = 5}),
            "lenet300 has 784 inputs and 10 classes, got [784] and 5");
}

// What quantization touches and what keeps its precision must not change unnoticed.
TEST(Zoo, NamesOfParameters) {
  const auto has = [](std::string_view network, std::vector<std::string> wanted) {
    const Specs specs = specs_of(build(network));
    for (const auto& name : wanted) {
      bool found = false;
      for (const auto* list : {&specs.parameters, &specs.states}) {
        for (const auto& p : *list) found |= p.name == name;
      }
      EXPECT_TRUE(found) << network << " " << name;
    }
  };
  has("resnet20", {"conv1.weight", "layer2.0.bn1.running_var", "linear.bias"});
  has("resnet18", {"layer2.0.downsample.0.weight", "layer4.1.bn2.bias", "fc.weight"});
  has("mobilenet_v2", {"features.1.conv.0.0.weight", "features.18.1.weight", "classifier.1.bias"});
  has("squeezenet", {"fire9.expand3x3.weight", "conv10.bias"});
}

}  // namespace
}  // namespace tessera::models
