// What single steps of methods do, against the formulas by hand: coefficients, entries, targets,
// multipliers, soft labels.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/autodiff.h"
#include "core/interpret.h"
#include "nn/classification.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/method/compress.h"
#include "quant/method/distill.h"
#include "quant/method/lc.h"
#include "quant/method/mocq.h"
#include "quant/method/mocq_authors.h"
#include "quant/method/qar.h"
#include "quant/method/representatives.h"
#include "tests/fill_xy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using tessera::testing::fill_xy;
using test::reference;
using test::Scores;
using Doubles = std::vector<double>;
using Family = ClusterRegularizer::Family;

CompressionPlan plan_of(const nn::Trainer& trainer, int k = 2) {
  return plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::adaptive(k), 0}});
}

// The network of reference(), of which only what methods add to it is trained.
nn::Trainer held_reference() {
  nn::Trainer from = reference(10);
  auto net = std::make_shared<nn::Sequential>();
  net->add("fc1", nn::Linear(20, 10)).add("act", nn::Tanh()).add("fc2", nn::Linear(10, 4));
  nn::TrainerOptions options;
  options.batch = 50;
  options.optimizer.group = [](const std::string&) { return nn::ParameterGroup{.lr_scale = 0}; };
  nn::Trainer out = nn::classifier(net, {20}, 4, options);
  nn::set_weights(out, from.state());
  return out;
}

// An epoch in the middle of a method, at a constant rate.
double epoch_of(nn::Trainer& trainer, double lr) {
  nn::Position position;
  return trainer.train_epoch(Scores(), position, nn::constant(lr)).loss;
}

double ten(double norm) {
  return std::nearbyint(std::log10(norm));
}

// lambda = c0 + c |dL/dw| / |dR/dw|, with the c and c0 of the epoch, whatever the method. The
// weights are held, so the averages are the norms themselves after a few steps.
TEST(Coefficients, ReachTheStepAsTheScheduleHasThem) {
  MocqOptions mocq;
  mocq.schedule.epochs = 20;
  QarOptions qar;
  qar.schedule.epochs = 20;
  MocqAuthorsOptions authors;
  authors.schedule.epochs = 350;
  const auto geometric = [](double a, double b, double share) {
    return a * std::pow(b / a, share);
  };
  struct Case {
    std::shared_ptr<Method> method;
    double epoch, c, c0;
  };
  // Behind the ramps' ends, within them, and where the weights are held.
  const double inside = (0.4 - mocq.start) / (mocq.ramp_until - mocq.start);
  const std::vector<Case> cases = {
      {std::make_shared<Mocq>(mocq), 17, mocq.pull_end, mocq.penalty_end},
      {std::make_shared<Mocq>(mocq), 8, geometric(mocq.pull_begin, mocq.pull_end, inside),
       geometric(mocq.penalty_begin, mocq.penalty_end, inside)},
      {std::make_shared<Mocq>(mocq), 18, 0, 0},
      {std::make_shared<Qar>(qar), 17, qar.end(), 0},
      {std::make_shared<Qar>(qar), 5, geometric(qar.ramp_begin, qar.end(), 0.25 / qar.ramp_until),
       0},
      {std::make_shared<Qar>(qar), 18, 0, 0},
      {std::make_shared<MocqAuthors>(authors), 260, 1, 0},
      {std::make_shared<MocqAuthors>(authors), 60, 1e-4, 0},
      {std::make_shared<MocqAuthors>(authors), 320, 0, 1e-3},
  };
  for (const Case& item : cases) {
    SCOPED_TRACE(cat(item.method->name(), " ", item.epoch));
    const bool theirs = item.method->name() == "mocq-authors";
    nn::Trainer trainer = held_reference();
    item.method->begin(trainer, plan_of(trainer), Scores());
    item.method->before_epoch(trainer, item.epoch);
    epoch_of(trainer, 0.01);
    const auto terms = trainer.terms();
    ASSERT_EQ(terms.size(), 2u);
    for (const auto& term : terms) {
      const auto& norms = theirs ? terms.front() : term;  // theirs: those of the first tensor
      if (item.c > 0) {  // where the weights are held the task gives them no gradient
        ASSERT_GT(norms.task_norm, 0);
        ASSERT_GT(norms.objective_norm, 0);
      }
      const double ratio = item.c == 0 ? 0
                           : theirs ? std::pow(10, ten(norms.task_norm) - ten(norms.objective_norm))
                                    : norms.task_norm / norms.objective_norm;
      const double want = item.c0 + item.c * ratio;
      EXPECT_NEAR(term.coefficient, want, 1e-4 * want + 1e-12) << term.weight;
    }
  }
}

// The forward pass runs on the weights until it is quantized, so only R can move the entries: to
// the weights of their cells.
TEST(Entries, ArePulledToTheirWeightsByTheObjectiveAlone) {
  for (const Family family :
       {Family::l1, Family::l2, Family::soft, Family::bins, Family::spectral}) {
    SCOPED_TRACE(static_cast<int>(family));
    QarOptions options;
    options.schedule.epochs = 20;
    options.family = family;
    options.ramp_begin = 1;
    options.ramp_end = 1;
    options.forward.hard_from = 0.5;
    Qar qar(options);
    nn::Trainer trainer = held_reference();
    const auto plan = plan_of(trainer);
    qar.begin(trainer, plan, Scores());
    const std::string name = "fc1.weight.representatives";
    Tensor entries = trainer.state().get(name);
    const auto fitted = entries.to_vector<float>();
    const float shift = 0.2f * std::fabs(fitted[1] - fitted[0]);
    for (float& e : entries.span<float>()) e += shift;
    trainer.state().mark_updated(name);
    qar.before_epoch(trainer, 0);
    epoch_of(trainer, 0);
    const double before = trainer.terms().front().value;
    for (int i = 0; i < 60; ++i) epoch_of(trainer, 0.1);
    const auto after = std::as_const(trainer.state()).get(name).to_vector<float>();
    EXPECT_LT(trainer.terms().front().value, before);
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_LT(std::fabs(after[k] - fitted[k]), 0.6f * shift) << k;
    }
  }
}

// w + hard (c(i) - w): its value, the gradient of w (live) and that of c_k, the sum over its
// weights times hard, entries and 1 / n.
TEST(RepresentativeForward, ByHand) {
  CompressionPlan plan;
  plan.tensors.push_back({"w", {1, 5}, TensorChoice{CodebookSpec::adaptive(2), 0}, ""});
  const Doubles w = {-0.9, -0.1, 0.2, 0.4, 1.1}, c = {-0.5, 0.5}, g = {1, -2, 3, 0.5, 4};
  const std::size_t cell[] = {0, 0, 1, 1, 1};
  for (const double hard : {0.0, 1.0}) {
    for (const double live : {0.0, 1.0}) {
      Graph graph(ops::standard_ops());
      nn::Scope scope(graph, true);
      const Value weight = graph.param("w", f32({1, 5})), task = graph.input("g", f32({1, 5}));
      const Value value = RepresentativeForward(plan).apply(scope, "w", weight);
      const Value entries = graph.find_leaf("w.representatives")->output();
      const auto gradients = grad(ops::sum(value * task), std::vector{weight, entries});
      const auto out = interpret(graph,
                                 {{"w", {f32({1, 5}), w}},
                                  {"g", {f32({1, 5}), g}},
                                  {"w.representatives", {f32({1, 2}), c}},
                                  {"forward.hard", {f32({}), {hard}}},
                                  {"forward.live", {f32({}), {live}}}},
                                 {value, gradients[0], gradients[1]});
      Doubles sums(2);
      for (std::size_t i = 0; i < w.size(); ++i) {
        EXPECT_NEAR(out[0].v[i], w[i] + hard * (c[cell[i]] - w[i]), 1e-6);
        EXPECT_NEAR(out[1].v[i], live * g[i], 1e-6);
        sums[cell[i]] += hard * g[i] * 2 / 5;
      }
      for (std::size_t k = 0; k < 2; ++k) EXPECT_NEAR(out[2].v[k], sums[k], 1e-6) << k;
    }
  }
}

// -(2 h / pi)^2 ln cos(pi/2 u), u = min(|w - c| / h, 1 - guard), and 1/2 (w - c)^2 beyond the
// outermost entries.
TEST(Mocq, ErrorByHand) {
  CompressionPlan plan;
  plan.tensors.push_back({"w", {1, 5}, TensorChoice{CodebookSpec::adaptive(2), 0}, ""});
  const Doubles w = {-0.9, -0.4, -0.01, 0.3, 1.1}, c = {-0.5, 0.5};
  const double guard = 0.1, h = 0.5, unit = 2 * h / std::numbers::pi;
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph, true);
  const auto term =
      PeriodicError(plan, nn::Coefficient{}, guard).term(scope, "w", graph.param("w", f32({1, 5})));
  const auto out =
      interpret(graph, {{"w", {f32({1, 5}), w}}, {"w.representatives", {f32({1, 2}), c}}},
                {term->value, term->gradient});
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double apart = w[i] - (w[i] < 0 ? -0.5 : 0.5);
    if (w[i] < -0.5 || w[i] > 0.5) {
      sum += 0.5 * apart * apart;
      EXPECT_NEAR(out[1].v[i], apart, 1e-6) << i;
      continue;
    }
    const double u = std::min(std::fabs(apart) / h, 1 - guard) * std::numbers::pi / 2;
    sum -= unit * unit * std::log(std::cos(u));
    EXPECT_NEAR(out[1].v[i], (apart < 0 ? -1 : 1) * unit * std::tan(u), 1e-5) << i;
  }
  EXPECT_NEAR(out[0].v[0], sum, 1e-6);
}

// R of each family on a handful of weights.
TEST(Qar, ValuesByHand) {
  CompressionPlan plan;
  plan.tensors.push_back({"w", {1, 5}, TensorChoice{CodebookSpec::adaptive(2), 0}, ""});
  const Doubles w = {-0.9, -0.1, 0.2, 0.4, 1.1}, c = {-0.5, 0.5};
  const double width = 0.4, tau = 0.5 * width * width;
  const auto value = [&](Family family) {
    Graph graph(ops::standard_ops());
    nn::Scope scope(graph, true);
    const auto term = ClusterRegularizer(family, plan, nn::Coefficient{})
                          .term(scope, "w", graph.param("w", f32({1, 5})));
    EXPECT_EQ(term->own.size(), 1u);
    for (const auto& [parameter, gradient] : term->own)
      EXPECT_EQ(parameter.node->name(), "w.representatives");
    EXPECT_DOUBLE_EQ(term->own_scale, 2 / 5.0);  // entries by weights
    return interpret(graph,
                     {{"w", {f32({1, 5}), w}},
                      {"w.representatives", {f32({1, 2}), c}},
                      {"w.cell_width", {f32({}), {width}}}},
                     {term->value})[0]
        .v[0];
  };
  const Doubles apart = {0.4, 0.4, 0.3, 0.1, 0.6};
  double l1 = 0, l2 = 0, bins[2] = {0, 0}, soft = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    l1 += apart[i] / 5;
    l2 += apart[i] * apart[i] / 5;
    bins[i >= 2] += apart[i] * apart[i] / (i < 2 ? 2 : 3);
    double sum = 0;
    for (const double entry : c) sum += std::exp(-(w[i] - entry) * (w[i] - entry) / tau);
    soft -= tau / 5 * std::log(sum);
  }
  EXPECT_NEAR(value(Family::l1), l1, 1e-6);
  EXPECT_NEAR(value(Family::l2), l2, 1e-6);
  EXPECT_NEAR(value(Family::bins), bins[0] + bins[1], 1e-6);
  EXPECT_NEAR(value(Family::soft), soft, 1e-6);
}

// The spectral term moves the rows towards the space of their vectors, by the gradient of its
// value.
TEST(Qar, SpectralGradientIsWhatTheBasisLeaves) {
  CompressionPlan plan;
  plan.tensors.push_back({"w", {2, 3}, TensorChoice{CodebookSpec::adaptive(2), 0}, ""});
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph, true);
  const auto term = ClusterRegularizer(Family::spectral, plan, nn::Coefficient{})
                        .term(scope, "w", graph.param("w", f32({2, 3})));
  const Doubles w = {1, 2, 3, 4, -5, 6}, c = {-1, 1};
  // F = (1, 0)', (0, 0)': the first row is explained, the second left.
  const auto out = interpret(graph,
                             {{"w", {f32({2, 3}), w}},
                              {"w.representatives", {f32({1, 2}), c}},
                              {"w.spectral_basis", {f32({2, 2}), {1, 0, 0, 0}}}},
                             {term->value, term->gradient});
  double value = 0.5 * (16 + 25 + 36) / 6.0;
  for (const double v : w) {
    const double apart = std::fabs(v) - 1;
    value += apart * apart / 6;  // representatives follow by l2
  }
  EXPECT_NEAR(out[0].v[0], value, 1e-5);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(out[1].v[i], i < 3 ? 0 : w[i] / 6, 1e-6);
}

// A C step at given multipliers: Theta of w - lambda / mu, lambda - mu (w - Delta), and the next
// target Delta + lambda / mu'.
TEST(Lc, CStepByHand) {
  LcOptions options;
  options.alternation = {.steps = 5, .epochs = 1, .first_epochs = 1, .lr = 0.05};
  options.mu = 0.5;
  options.mu_growth = 3;
  LearningCompression lc(options);
  nn::Trainer trainer = reference(10);
  const auto plan = plan_of(trainer);
  lc.begin(trainer, plan, Scores());
  const std::string name = "fc1.weight";
  const auto w = trainer.state().get(name).to_vector<float>();
  std::vector<float> lambda(w.size()), shifted(w.size());
  Rng rng(4, 4);
  for (std::size_t i = 0; i < w.size(); ++i) {
    lambda[i] = 0.05f * rng.normal();
    shifted[i] = w[i] - lambda[i] / 0.5f;
  }
  trainer.state().set(name + ".lc_multiplier", Tensor::from(lambda, Shape{10, 20}));
  const auto report = lc.after_update(trainer, 0.9, 1);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(lc.after_update(trainer, 1, 1.5), std::nullopt);
  const CodebookTensor c = lc.codebooks(trainer).at(name),
                       want = fit_tensor(name, CodebookSpec::adaptive(2), {10, 20}, 0, shifted);
  EXPECT_EQ(c.entries, want.entries);
  EXPECT_EQ(c.indices, want.indices);
  const auto& state = std::as_const(trainer.state());
  const auto after = state.get(name + ".lc_multiplier").to_vector<float>(),
             target = state.get(name + ".lc_target").to_vector<float>();
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double delta = want.entries[want.indices[i]], next = lambda[i] - 0.5 * (w[i] - delta);
    EXPECT_NEAR(after[i], next, 1e-5) << i;
    EXPECT_NEAR(target[i], delta + next / 1.5, 1e-5) << i;
  }
  // The L step that follows minimises L + mu/2 |w - target|^2.
  lc.before_epoch(trainer, 1);
  epoch_of(trainer, 0);
  const auto term = trainer.terms().front();
  EXPECT_NEAR(term.coefficient, 1.5, 1e-6);
  double value = 0;
  for (std::size_t i = 0; i < w.size(); ++i) value += 0.5 * std::pow(w[i] - target[i], 2.0);
  EXPECT_NEAR(term.value, value, 1e-4 * value);
}

// Predicted classes of every sample, for soft labels by hand.
std::vector<Doubles> log_softmax(const nn::Trainer& trainer, const Scores& data) {
  const Plan plan =
      compile(nn::inference_graph(trainer), trainer.state(), {.batch = data.samples()});
  Tensor x(DType::f32, {data.samples(), 20}), y(DType::s32, {data.samples()});
  fill_xy(data, -1, 0, x, y);
  const Tensor logits = plan.run({{"x", x}}).at("logits");
  std::vector<Doubles> out;
  for (std::int64_t i = 0; i < data.samples(); ++i) {
    Doubles row;
    double sum = 0;
    for (std::int64_t c = 0; c < 4; ++c)
      sum += std::exp(row.emplace_back(element(logits, i * 4 + c)));
    for (double& v : row) v -= std::log(sum);
    out.push_back(std::move(row));
  }
  return out;
}

// -sum ((1 - alpha) one_hot(y) + alpha p) log softmax, p the same for every sample, and alpha
// = 0.8 (5 + 1) / 10 in the middle of ten epochs.
TEST(SelfDistillation, LossByHand) {
  const Scores data;
  for (const auto kind : {DistillOptions::Kind::memory, DistillOptions::Kind::teacher,
                          DistillOptions::Kind::reference}) {
    SCOPED_TRACE(static_cast<int>(kind));
    nn::Trainer trainer = reference(10);
    const Distiller distiller({kind, 0.8});
    distiller.prepare(trainer, data.samples());
    distiller.attach(trainer, data.samples());
    distiller.set_scalars(trainer, 0.5, 10);
    Doubles p(4, 0.25);
    if (kind == DistillOptions::Kind::memory) {
      p = {0.5, 0.25, 0.125, 0.125};  // exact in bf16
      Tensor memory(DType::bf16, {data.samples(), 4});
      for (std::int64_t i = 0; i < memory.numel(); ++i)
        set_element(memory, i, p[static_cast<std::size_t>(i % 4)]);
      trainer.state().set("distill.memory", memory);
    } else {
      // The teacher of the epoch before knows nothing.
      trainer.state().set("teacher.fc2.weight", Tensor(DType::f32, {4, 10}));
      trainer.state().set("teacher.fc2.bias", Tensor(DType::f32, {4}));
    }
    Tensor x(DType::f32, {data.samples(), 20}), y(DType::s32, {data.samples()});
    fill_xy(data, -1, 0, x, y);
    const auto predicted = log_softmax(trainer, data);
    const double alpha = 0.48;
    double want = 0;
    for (std::size_t i = 0; i < predicted.size(); ++i) {
      for (std::size_t c = 0; c < 4; ++c) {
        const double hard = y.span<std::int32_t>()[i] == static_cast<std::int32_t>(c);
        want -= ((1 - alpha) * hard + alpha * p[c]) * predicted[i][c];
      }
    }
    want /= static_cast<double>(data.samples());
    trainer.reset_optimizer();
    EXPECT_NEAR(epoch_of(trainer, 0), want, 1e-4 * want);
    // The teacher is the network again; the reference stays what it was.
    distiller.finish_epoch(trainer);
    if (kind != DistillOptions::Kind::memory) {
      EXPECT_EQ(
          equal_bits(trainer.state().get("teacher.fc2.weight"), trainer.state().get("fc2.weight")),
          kind == DistillOptions::Kind::teacher);
    }
  }
}

// The network's own predictions count less where there are few epochs, those of the network at the
// start do not.
TEST(SelfDistillation, FewEpochsListenLess) {
  using Kind = DistillOptions::Kind;
  for (const auto kind : {Kind::memory, Kind::teacher, Kind::reference}) {
    SCOPED_TRACE(static_cast<int>(kind));
    const Scores data;
    double losses[2];
    for (const bool short_training : {true, false}) {
      nn::Trainer trainer = reference(10);
      // 0.8 (5 + 1) / 30 in the middle of 10 epochs of 30, or a third of it in 10 of 10.
      const bool own = kind != Kind::reference;
      const Distiller distiller(
          {kind, short_training || !own ? 0.8 : 0.8 / 3, short_training ? 30.0 : 1.0});
      distiller.prepare(trainer, data.samples());
      distiller.attach(trainer, data.samples());
      distiller.set_scalars(trainer, 0.5, 10);
      trainer.reset_optimizer();
      if (kind == Kind::memory) {
        Tensor memory(DType::bf16, {data.samples(), 4});
        for (std::int64_t i = 0; i < memory.numel(); ++i) set_element(memory, i, 0.25);
        trainer.state().set("distill.memory", memory);
      }
      losses[short_training] = epoch_of(trainer, 0);
    }
    EXPECT_NEAR(losses[0], losses[1], 1e-6);
  }
}

// A method whose options ask for soft labels trains on them.
TEST(SelfDistillation, IsPartOfBothFormsOfMocq) {
  MocqOptions ours;
  ours.schedule.epochs = 10;
  MocqAuthorsOptions theirs;
  theirs.schedule.epochs = 10;
  Mocq mocq(ours);
  MocqAuthors authors(theirs);
  for (Method* method : std::initializer_list<Method*>{&mocq, &authors}) {
    nn::Trainer trainer = reference(10);
    method->begin(trainer, plan_of(trainer), Scores());
    method->before_epoch(trainer, 0);
    epoch_of(trainer, 0);
    const Tensor& memory = std::as_const(trainer.state()).get("distill.memory");
    double sum = 0;
    for (std::int64_t i = 0; i < memory.numel(); ++i) sum += element(memory, i);
    EXPECT_NEAR(sum, 600, 3) << method->name();
  }
}

TEST(TrainingSchedule, FallsByHalfACosine) {
  const TrainingSchedule schedule{.epochs = 10, .lr = 0.2, .lr_final = 0.25};
  EXPECT_DOUBLE_EQ(schedule.rate(0), 0.2);
  EXPECT_DOUBLE_EQ(schedule.rate(5), 0.2 * (0.25 + 0.75 * 0.5));
  EXPECT_DOUBLE_EQ(schedule.rate(10), 0.05);
}

}  // namespace
}  // namespace tessera::quant
