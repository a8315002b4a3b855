// Parameter groups, clipping and the optimizers' settings, seen from one step of training.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "nn/classification.h"
#include "nn/fit.h"
#include "nn/schedule.h"
#include "ops/op_list.h"
#include "tests/fill_xy.h"
#include "tests/nn/spirals.h"

namespace tessera::nn {
namespace {

using tessera::testing::fill_xy;

Trainer trainer(const OptimizerOptions& optimizer) {
  TrainerOptions options;
  options.batch = 32;
  options.optimizer = optimizer;
  return classifier(testing::network(), {2}, 2, options);
}

void one_step(Trainer& t, double lr) {
  Position position;
  t.train_epoch(testing::Spirals(32), position, constant(lr));
}

// Squares of the changes of one step, summed over all parameters.
double moved(const Trainer& t, const State& before) {
  double sum = 0;
  for (const auto& p : t.parameters()) {
    for (std::int64_t i = 0; i < p.type.shape.numel(); ++i) {
      const double d = element(t.state().get(p.name), i) - element(before.get(p.name), i);
      sum += d * d;
    }
  }
  return std::sqrt(sum);
}

// Gradients of the loss at `weights`, from a plain step of size 1.
State gradients_at(const State& weights) {
  Trainer t = trainer({.momentum = 0, .nesterov = false});
  set_weights(t, weights);
  one_step(t, 1);
  State out;
  for (const auto& p : t.parameters()) {
    Tensor g(DType::f32, p.type.shape);
    for (std::int64_t i = 0; i < g.numel(); ++i) {
      set_element(g, i, element(weights.get(p.name), i) - element(t.state().get(p.name), i));
    }
    out.set(p.name, g);
  }
  return out;
}

// b <- m b + g, w <- w - lr b, or w - lr (g + m b) with Nesterov's momentum; three steps.
TEST(Sgd, StepsByHand) {
  const double lr = 0.1, m = 0.8;
  for (const bool nesterov : {false, true}) {
    Trainer t = trainer({.momentum = m, .nesterov = nesterov});
    State buffer;
    for (int step = 0; step < 3; ++step) {
      const State before = t.state().clone(), g = gradients_at(before);
      one_step(t, lr);
      double most = 0;
      for (const auto& p : t.parameters()) {
        if (step == 0) buffer.set(p.name, Tensor(DType::f32, p.type.shape));
        Tensor b = buffer.get(p.name);
        for (std::int64_t i = 0; i < b.numel(); ++i) {
          const double gradient = element(g.get(p.name), i), next = m * element(b, i) + gradient;
          set_element(b, i, next);
          const double by = lr * (nesterov ? gradient + m * next : next);
          most = std::max(most, std::fabs(by));
          EXPECT_NEAR(element(t.state().get(p.name), i), element(before.get(p.name), i) - by, 2e-6)
              << p.name << " " << i << ", step " << step;
        }
        buffer.set(p.name, b);
      }
      EXPECT_GT(most, 1e-3);
    }
  }
}

// (1 - s) of the label's cross-entropy and s of the mean over all classes.
// Without momentum there is no buffer, in the state or in the step.
TEST(Sgd, KeepsNoMomentumOfZero) {
  Trainer plain = trainer({.momentum = 0, .nesterov = false, .weight_decay = 0.1});
  Trainer heavy = trainer({.momentum = 0.5, .nesterov = false});
  const std::string weight = plain.parameters()[0].name;
  EXPECT_FALSE(plain.state().has(weight + ".momentum"));
  EXPECT_TRUE(heavy.state().has(weight + ".momentum"));
  EXPECT_EQ(plain.train_graph().find_leaf(weight + ".momentum"), nullptr);
  const State before = plain.state().clone(), g = gradients_at(before);
  one_step(plain, 0.3);
  for (std::int64_t i = 0; i < g.get(weight).numel(); ++i) {
    const double w = element(before.get(weight), i);
    EXPECT_NEAR(element(plain.state().get(weight), i),
                w - 0.3 * (element(g.get(weight), i) + 0.1 * w), 1e-5);
  }
}

TEST(LabelSmoothing, IsPartOfTheLoss) {
  const double share = 0.3;
  const testing::Spirals data(32);
  Trainer t = trainer({});
  for (int i = 0; i < 40; ++i) one_step(t, 0.1);
  const auto loss = [&](double smoothing) {
    TrainerOptions options;
    options.batch = 32;
    options.label_smoothing = smoothing;
    Trainer smoothed = classifier(testing::network(), {2}, 2, options);
    set_weights(smoothed, t.state());
    Position position;
    return smoothed.train_epoch(data, position, constant(0)).loss;
  };
  const Plan plan = compile(inference_graph(t), t.state(), {.batch = 32});
  Tensor x(DType::f32, {32, 2}), y(DType::s32, {32});
  fill_xy(data, -1, 0, x, y);
  const Tensor logits = plan.run({{"x", x}}).at("logits");
  double all = 0;
  for (std::int64_t i = 0; i < 32; ++i) {
    const double a = element(logits, 2 * i), b = element(logits, 2 * i + 1);
    all += (std::log(std::exp(a) + std::exp(b)) - 0.5 * (a + b)) / 32;
  }
  const double hard = loss(0);
  EXPECT_GT(std::fabs(all - hard), 1e-2);
  EXPECT_NEAR(loss(share), (1 - share) * hard + share * all, 1e-5);
}

TEST(ParameterGroups, ScaleTheLearningRate) {
  Trainer plain = trainer({}),
          scaled = trainer({.group = [](const std::string&name) {
            return ParameterGroup{.lr_scale = name == "fc2.weight" ? 0.0 : 2.0};
          }});
  const State before = plain.state().clone();
  one_step(plain, 0.1);
  one_step(scaled, 0.05);
  for (const auto& p : plain.parameters()) {
    EXPECT_TRUE(equal_bits(scaled.state().get(p.name),
                           p.name == "fc2.weight" ? before.get(p.name) : plain.state().get(p.name)))
        << p.name;
  }
}

TEST(ParameterGroups, SetTheWeightDecay) {
  // Without momentum, a step differs by lr * decay * w where the group says so and nowhere else.
  const double decay = 0.5, lr = 0.1;
  Trainer plain = trainer({.momentum = 0, .nesterov = false});
  Trainer decayed = trainer({.momentum = 0,
                             .nesterov = false,
                             .weight_decay = decay,
                             .group = [](const std::string& name) -> ParameterGroup {
                               if (name == "fc1.weight") return {.weight_decay = 0};
                               if (name == "fc1.bias") return {.weight_decay = 0.5};
                               return {};
                             }});
  const State before = plain.state().clone();
  one_step(plain, lr);
  one_step(decayed, lr);
  for (const auto& p : plain.parameters()) {
    const bool decays = p.name.ends_with("weight") != p.name.starts_with("fc1");
    for (std::int64_t i = 0; i < p.type.shape.numel(); ++i) {
      const double expected = element(plain.state().get(p.name), i) -
                              (decays ? lr * decay * element(before.get(p.name), i) : 0);
      EXPECT_NEAR(element(decayed.state().get(p.name), i), expected, 1e-6) << p.name;
    }
  }
}

TEST(ParameterGroups, ArePartOfWhatAResumeMustAgreeWith) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("tessera-groups-" + std::to_string(getpid()) + ".ckpt");
  const auto train = [&](double scale) {
    Trainer t = trainer({.group = [=](const std::string&) { return ParameterGroup{scale}; }});
    FitOptions options;
    options.epochs = 1;
    options.lr = constant(0.1);
    options.checkpoint = path;
    options.checkpoint_seconds = 0;
    options.resume = true;
    fit(t, testing::Spirals(32), options);
  };
  train(1);
  train(1);
  EXPECT_THROW(train(2), Error);
  std::filesystem::remove(path);
}

TEST(ParameterGroups, NonsenseNamesTheParameter) {
  for (const ParameterGroup& bad : {ParameterGroup{-1}, ParameterGroup{1, std::nan("")}}) {
    Trainer t = trainer({.group = [=](const std::string&) { return bad; }});
    try {
      one_step(t, 0.1);
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("'fc1.weight'"), std::string::npos) << error.what();
    }
  }
}

TEST(ClipNorm, BoundsTheStepOverAllParameters) {
  Trainer plain = trainer({.momentum = 0, .nesterov = false});
  const State before = plain.state().clone();
  one_step(plain, 1);
  const double norm = moved(plain, before);
  ASSERT_GT(norm, 0.02);
  for (const double limit : {0.01, 100.0}) {
    Trainer clipped = trainer({.momentum = 0, .nesterov = false, .clip_norm = limit});
    one_step(clipped, 1);
    EXPECT_NEAR(moved(clipped, before), std::min(limit, norm), 1e-4 * norm);
  }
  Trainer bad = trainer({.clip_norm = -1});
  EXPECT_THROW(one_step(bad, 1), Error);
}

// What corrects the bias of the moments: the updates since they were zero.
TEST(Adam, CountsItsUpdates) {
  for (const std::string name : {"adam", "adamw"}) {
    Trainer t = trainer({.name = name});
    for (int i = 1; i <= 3; ++i) {
      one_step(t, 0.01);
      EXPECT_EQ(t.state().get("optimizer.updates").item(), static_cast<float>(i)) << name;
    }
    t.reset_optimizer();
    EXPECT_EQ(t.state().get("optimizer.updates").item(), 0) << name;
  }
  EXPECT_FALSE(trainer({}).state().has("optimizer.updates"));
}

TEST(Adam, UsesItsSettings) {
  // Without memory every element moves by lr, whatever its gradient.
  Trainer t = trainer({.name = "adam", .beta1 = 0, .beta2 = 0});
  const State before = t.state().clone();
  one_step(t, 0.01);
  for (std::int64_t i = 0; i < 32; ++i) {
    const double d = element(t.state().get("fc1.bias"), i) - element(before.get("fc1.bias"), i);
    EXPECT_NEAR(std::abs(d), 0.01, 1e-4) << i;
  }
  // Decoupled decay multiplies the weight and stays out of the moments.
  const OptimizerOptions adamw = {.name = "adamw", .weight_decay = 0.5};
  Trainer decayed = trainer(adamw), usual = trainer({.name = "adam"});
  one_step(decayed, 0.01);
  one_step(usual, 0.01);
  EXPECT_TRUE(equal_bits(decayed.state().get("fc1.weight.momentum"),
                         usual.state().get("fc1.weight.momentum")));
  for (std::int64_t i = 0; i < 64; ++i) {
    EXPECT_NEAR(element(decayed.state().get("fc1.weight"), i),
                element(usual.state().get("fc1.weight"), i) -
                    0.01 * 0.5 * element(before.get("fc1.weight"), i),
                1e-6);
  }
}

// Keeps half of the old and half of the batch's mean of its input.
class Watch final : public Module {
 public:
  Value forward(Scope& scope, Value x) const override {
    const Value seen = scope.state("seen", {}, Init::constant(4));
    if (scope.training()) scope.update(seen, seen * 0.5 + ops::mean(x) * 0.5);
    return scope.training() ? x : x + seen * 0.0;
  }
};

TEST(States, StartAsTheirInitSaysAndAreUpdatedByTheStep) {
  auto net = std::make_shared<Sequential>();
  net->add("watch", Watch()).add("fc", Linear(2, 2));
  Trainer t = classifier(net, {2}, 2, {.batch = 32});
  ASSERT_EQ(t.states().size(), 1u);
  EXPECT_EQ(t.states()[0].name, "watch.seen");
  EXPECT_EQ(t.parameters().size(), 2u);
  EXPECT_EQ(t.state().get("watch.seen").item(), 4);
  const testing::Spirals data(32);
  Tensor x(DType::f32, {32, 2}), y(DType::s32, {32});
  fill_xy(data, 0, 0, x, y);
  double mean = 0;
  for (const float v : x.span<float>()) mean += v / 64;
  one_step(t, 0.1);
  EXPECT_NEAR(t.state().get("watch.seen").item(), 2 + mean / 2, 1e-6);

  const Model model = inference_model(t);
  EXPECT_TRUE(equal_bits(model.state.get("watch.seen"), t.state().get("watch.seen")));
  EXPECT_EQ(model.state.size(), 3u);
  Trainer other = classifier(net, {2}, 2, {.batch = 32, .seed = 2});
  set_weights(other, model.state);
  EXPECT_TRUE(equal_bits(other.state().get("watch.seen"), t.state().get("watch.seen")));
  State lacking = model.state.clone();
  lacking.erase("watch.seen");
  EXPECT_THROW(set_weights(other, lacking), Error);

  Graph graph(ops::standard_ops());
  Scope scope(graph);
  EXPECT_THROW(scope.update(scope.state("s", {}, Init::constant(0)), graph.constant(1)), Error);
}

// Gradients pass through the transforms in order, and clipping sees what they leave.
TEST(Gradients, AreTransformedBeforeTheyAreUsed) {
  const auto moved = [](std::vector<GradientTransform> gradients, double clip) {
    TrainerOptions options;
    options.batch = 32;
    options.optimizer.clip_norm = clip;
    options.gradients = std::move(gradients);
    Trainer t = classifier(testing::network(0), {2}, 2, options);
    const Tensor before = t.state().get("fc1.weight").clone();
    Position position;
    t.train_epoch(testing::Spirals(32), position, constant(0.1));
    double sum = 0;
    const auto now = t.state().get("fc1.weight").span<float>();
    for (std::size_t i = 0; i < now.size(); ++i)
      sum += std::pow(now[i] - before.span<float>()[i], 2);
    return std::sqrt(sum);
  };
  const auto scaled = [](double factor) {
    return [factor](Scope&, std::span<NamedGradient> gradients) {
      for (NamedGradient& g : gradients) {
        EXPECT_FALSE(g.parameter.empty());
        g.gradient = g.gradient * factor;
      }
    };
  };
  const double plain = moved({}, 0);
  EXPECT_GT(plain, 0);
  EXPECT_EQ(moved({scaled(0)}, 0), 0);
  EXPECT_NEAR(moved({scaled(0.5)}, 0), 0.5 * plain, 1e-4 * plain);
  EXPECT_NEAR(moved({scaled(4), scaled(0.5)}, 0), 2 * plain, 1e-4 * plain);
  // Of gradients that are a thousand times as large, clipping leaves the same.
  EXPECT_NEAR(moved({scaled(1000)}, 1e-3), moved({scaled(2000)}, 1e-3), 1e-8);
  EXPECT_THROW(clip_by_norm(0), Error);
}

}  // namespace
}  // namespace tessera::nn
