// MOCQ, QAR and quantization-aware training end to end on a small problem; self-distillation.
#include <gtest/gtest.h>

#include <cmath>

#include "core/autodiff.h"
#include "core/interpret.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/calibrate/fisher.h"
#include "quant/method/adaround.h"
#include "quant/method/compress.h"
#include "quant/method/fisher_compression.h"
#include "quant/method/lc.h"
#include "quant/method/mocq.h"
#include "quant/method/mocq_authors.h"
#include "quant/method/qar.h"
#include "quant/method/spectral.h"
#include "tests/accuracy.h"
#include "tests/fill_xy.h"
#include "tests/quant/qat.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using tessera::testing::fill_xy;
using test::reference;
using test::Scores;

constexpr int kEpochs = 24;
const TrainingSchedule kSchedule{.epochs = kEpochs, .lr = 0.05};

std::unique_ptr<Method> make(const std::string& name, ClusterRegularizer::Family family,
                             DistillOptions::Kind distill) {
  if (name == "mocq") {
    MocqOptions options;
    options.schedule = kSchedule;
    options.distill.kind = distill;
    return std::make_unique<Mocq>(options);
  }
  if (name == "qar") {
    QarOptions options;
    options.schedule = kSchedule;
    options.family = family;
    return std::make_unique<Qar>(options);
  }
  QatOptions options;
  options.schedule = kSchedule;
  options.kind = name;
  return std::make_unique<Qat>(qat_of(options));
}

struct Outcome {
  double before, direct, after;
  CompressResult result;
  State state;
};

Outcome run(Method& method, int k) {
  nn::Trainer trainer = reference(10);
  const Scores data;
  nn::Evaluator evaluate(nn::inference_graph(trainer), trainer.task());
  Outcome out{tessera::testing::accuracy(trainer.evaluate(data)), 0, 0, {}, {}};
  const auto plan =
      plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::adaptive(k), 0}});
  const PostTraining dc = direct_compression();
  State direct = decoded_state(trainer.state(), compress(trainer, data, plan, dc).codebooks);
  out.direct = tessera::testing::accuracy(evaluate(direct, data));
  out.result = compress(trainer, data, plan, method);
  State decoded = decoded_state(trainer.state(), out.result.codebooks);
  out.after = tessera::testing::accuracy(evaluate(decoded, data));
  out.state = trainer.state().clone();
  return out;
}

class TrainedMethods : public ::testing::TestWithParam<const char*> {};

TEST_P(TrainedMethods, BeatDirectCompressionAndEndOnACodebook) {
  const std::string name = GetParam();
  const bool ternary = name == "twn" || name == "ttq";
  const auto method = make(name, ClusterRegularizer::Family::l2, DistillOptions::Kind::memory);
  EXPECT_EQ(method->name(), name);
  const Outcome out = run(*method, ternary ? 4 : 2);
  ASSERT_TRUE(out.result.finished);
  // Three levels have four as their rival.
  EXPECT_GT(out.after, ternary ? 0.85 : out.direct + 0.03)
      << "direct " << out.direct << ", reference " << out.before;
  ASSERT_EQ(out.result.c_steps.size(), kEpochs + 1u);
  for (const auto& [weight, c] : out.result.codebooks) {
    EXPECT_EQ(c.k, ternary ? 3 : 2) << weight;
    EXPECT_TRUE(std::is_sorted(c.entries.begin(), c.entries.end())) << weight;
    EXPECT_LT(*std::max_element(c.indices.begin(), c.indices.end()), c.k) << weight;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TrainedMethods,
                         ::testing::Values("mocq", "qar", "ste", "lsq", "ewgs", "dkm", "twn",
                                           "ttq"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Qar, EveryFamilyTrains) {
  using Family = ClusterRegularizer::Family;
  for (const Family family : {Family::l1, Family::soft, Family::bins, Family::spectral}) {
    const auto method = make("qar", family, DistillOptions::Kind::none);
    const Outcome out = run(*method, 2);
    EXPECT_GT(out.after, out.direct + 0.03) << static_cast<int>(family);
  }
}

TEST(Mocq, PullsTheWeightsToTheirEntries) {
  // Without a quantized forward pass only the error moves the weights to their entries.
  MocqOptions options;
  options.schedule = kSchedule;
  options.forward.hard_from = 1;
  options.penalty_begin = 1e-3;
  options.penalty_end = 0.3;
  options.distill.kind = DistillOptions::Kind::teacher;
  Mocq mocq(options);
  const Outcome out = run(mocq, 2);
  EXPECT_LT(out.result.c_steps.back().distance, 0.3 * out.result.c_steps.front().distance);
  EXPECT_TRUE(out.state.has("teacher.fc1.weight"));
}

TEST(SelfDistillation, RemembersThePredictionsOfEverySample) {
  nn::Trainer trainer = reference(10);
  const Scores data;
  const Distiller distiller({DistillOptions::Kind::memory, 0.8});
  distiller.prepare(trainer, data.samples());
  distiller.attach(trainer, data.samples());
  distiller.set_scalars(trainer, 0, 10);
  trainer.reset_optimizer();
  nn::Position position;
  trainer.train_epoch(data, position, nn::constant(0));  // the network stays as it is
  // Row i holds softmax of sample i, whatever the order it was seen in.
  const Plan plan =
      compile(nn::inference_graph(trainer), trainer.state(), {.batch = data.samples()});
  Tensor x(DType::f32, {data.samples(), 20}), y(DType::s32, {data.samples()});
  fill_xy(data, -1, 0, x, y);
  const Tensor logits = plan.run({{"x", x}}).at("logits");
  const Tensor& memory = trainer.state().get("distill.memory");
  ASSERT_EQ(memory.dtype(), DType::bf16);
  for (std::int64_t i = 0; i < data.samples(); ++i) {
    double sum = 0;
    const float* row = logits.span<float>().data() + i * 4;
    for (int c = 0; c < 4; ++c) sum += std::exp(row[c]);
    for (int c = 0; c < 4; ++c)
      ASSERT_NEAR(element(memory, i * 4 + c), std::exp(row[c]) / sum, 4e-3) << i;
  }
}

TEST(SelfDistillation, FirstEpochLearnsFromLabelsAlone) {
  // An empty memory counts as one_hot(y), so alpha makes no difference to the first loss.
  double losses[2];
  for (int i = 0; i < 2; ++i) {
    nn::Trainer trainer = reference(10);
    const Scores data;
    const Distiller distiller({DistillOptions::Kind::memory, i == 0 ? 0.0 : 0.9});
    distiller.prepare(trainer, data.samples());
    distiller.attach(trainer, data.samples());
    distiller.set_scalars(trainer, 0, 1);
    nn::Position position;
    losses[i] = trainer.train_epoch(data, position, nn::constant(0)).loss;
  }
  EXPECT_NEAR(losses[0], losses[1], 1e-6);
}

class QatForward : public ::testing::TestWithParam<const char*> {};

// What training computed with is what is saved, to the sample.
TEST_P(QatForward, IsTheCodebook) {
  const std::string kind = GetParam();
  const bool ternary = kind == "twn" || kind == "ttq";
  for (const int k : {2, 4, 8}) {
    if (ternary && k != 4) continue;
    QatOptions options;
    options.schedule = {.epochs = 3, .lr = 0.05};
    options.kind = kind;
    Qat qat = qat_of(options);
    nn::Trainer trainer = reference(10);
    const Scores data;
    const auto plan =
        plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::adaptive(k), 0}});
    const auto result = compress(trainer, data, plan, qat);
    State decoded = decoded_state(trainer.state(), result.codebooks);
    nn::Evaluator evaluate(nn::inference_graph(trainer), trainer.task());
    qat.begin(trainer, plan, data, /*resuming=*/true);
    nn::Position position;
    EXPECT_NEAR(trainer.train_epoch(data, position, nn::constant(0)).loss,
                evaluate(decoded, data).loss(), 1e-5)
        << k;
  }
}

INSTANTIATE_TEST_SUITE_P(All, QatForward, ::testing::Values("ste", "lsq", "ewgs", "twn", "ttq"),
                         [](const auto& info) { return std::string(info.param); });

// 1 bit, interval [-1, 1], scale 0.5: x = (w + 1) / 2, q = round(x), value 0.5 (2 q - 1), and
// d value / d x is 1 before it is scaled, d x / d w 1/2 inside the interval.
TEST(Qat, EwgsByHand) {
  QatOptions options;
  options.kind = "ewgs";
  options.ewgs_delta = 0.5;
  const auto rule = rule_of(options);
  for (const double scale : {0.5, -0.5}) {
    Graph graph(ops::standard_ops());
    nn::Scope scope(graph, true);
    const Value w = graph.param("w", f32({1, 5})), g = graph.input("g", f32({1, 5}));
    const Value value = rule->quantize(scope, "w", w, {CodebookSpec::adaptive(2), 0});
    const Value loss = ops::sum(value * g);
    const Value dw = grad(loss, std::vector{w})[0];
    const std::vector<double> weights = {-2, -0.6, 0.2, 0.6, 2}, task = {1, 1, -1, 1, 1};
    const RefMap leaves = {{"w", {f32({1, 5}), weights}},
                           {"g", {f32({1, 5}), task}},
                           {"w.ewgs_interval", {f32({2}), {-1, 1}}},
                           {"w.ewgs_scale", {f32({}), {scale}}}};
    const auto out = interpret(graph, leaves, {value, dw});
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double x = std::clamp((weights[i] + 1) / 2, 0.0, 1.0), q = std::round(x);
      EXPECT_NEAR(out[0].v[i], scale * (2 * q - 1), 1e-6) << i;
      const double of_q = task[i] * scale * 2;
      const double inside = std::fabs(weights[i]) < 1 ? 0.5 : 0;
      EXPECT_NEAR(out[1].v[i], inside * of_q * (1 + 0.5 * (of_q > 0 ? 1 : -1) * (x - q)), 1e-6)
          << i;
    }
  }
}

// The snap sorts the levels of a negative scale, and says when training broke them.
TEST(Qat, EwgsSnapsOddScales) {
  QatOptions options;
  options.kind = "ewgs";
  Qat qat = qat_of(options);
  nn::Trainer trainer = reference(10);
  const auto plan =
      plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::adaptive(4), 0}});
  qat.begin(trainer, plan, Scores());
  const std::string scale = "fc1.weight.ewgs_scale";
  trainer.state().set(scale, Tensor::from(std::vector<float>{-0.5f}, Shape{}));
  qat.after_update(trainer, 0, 1);
  const CodebookTensor c = qat.codebooks(trainer).at("fc1.weight");
  EXPECT_TRUE(std::is_sorted(c.entries.begin(), c.entries.end()));
  EXPECT_NEAR(c.entries.back(), 0.5, 1e-6);
  const auto w = std::as_const(trainer.state()).get("fc1.weight").span<float>();
  const auto least = std::min_element(w.begin(), w.end()) - w.begin();
  EXPECT_GT(c.entries[c.indices[static_cast<std::size_t>(least)]], 0);
  trainer.state().set(scale, Tensor::from(std::vector<float>{NAN}, Shape{}));
  EXPECT_NE(test::error_of([&] { qat.after_update(trainer, 0, 1); }).find("'fc1.weight': an end"),
            std::string::npos);
  Tensor broken = std::as_const(trainer.state()).get("fc2.weight").clone();
  broken.span<float>()[3] = INFINITY;
  trainer.state().set("fc2.weight", broken);
  EXPECT_NE(test::error_of([&] {
              qat.after_update(trainer, 0, 1);
            }).find("'fc2.weight': a weight became inf"),
            std::string::npos);
}

TEST(ForwardStages, ShortTrainingsEndQuantized) {
  ForwardStages stages;
  EXPECT_TRUE(stages.hard(0, 2));
  stages.hard_from = 0.1;
  EXPECT_TRUE(stages.hard(0, 1));
  EXPECT_FALSE(stages.hard(0, 2));
  EXPECT_TRUE(stages.hard(0.5, 2));
  stages.hard_from = 0.9;
  EXPECT_TRUE(stages.hard(5.0 / 6, 6));
  EXPECT_FALSE(stages.hard(4.0 / 6, 6));
  stages.hard_from = 1;
  EXPECT_FALSE(stages.hard(0, 1));
  QarOptions qar;
  qar.forward = {.hard_from = 0.95, .finish_from = 0.9};
  EXPECT_EQ(test::error_of([&] { Qar(qar).require({}); }),
            "qar: weights are held from 0.9 of the epochs on, before the forward pass is quantized "
            "at 0.95");
}

TEST(ForwardStages, LearningRateStartsAnewWithTheQuantizedPass) {
  MocqOptions mocq;
  mocq.schedule = {.epochs = 10, .lr = 0.1};
  mocq.forward.hard_from = 0.25;  // the fourth epoch is the first behind it
  QarOptions qar;
  qar.schedule = mocq.schedule;
  qar.forward.hard_from = 0;
  MocqOptions never = mocq;
  never.forward.hard_from = 1;
  for (const double epoch : {0.0, 0.5, 1.0, 2.9, 3.0, 3.25, 3.75, 4.0, 9.5}) {
    const double rate = mocq.schedule.rate(epoch);
    // A tenth of the 7 epochs, and of the 10.
    const double share = epoch < 3 ? 1 : std::min(1.0, (epoch - 3) / 0.7);
    EXPECT_NEAR(Mocq(mocq).learning_rate(epoch), share * rate, 1e-12) << epoch;
    EXPECT_NEAR(Qar(qar).learning_rate(epoch), std::min(epoch, 1.0) * rate, 1e-12) << epoch;
    EXPECT_DOUBLE_EQ(Mocq(never).learning_rate(epoch), rate) << epoch;
  }
}

TEST(Qat, TernaryLevelsStayThereForLong) {
  QatOptions options;
  options.kind = "ttq";
  options.schedule = {.epochs = 60, .lr = 0.1};
  Qat ttq = qat_of(options);
  const Outcome out = run(ttq, 4);
  for (const auto& [name, c] : out.result.codebooks) {
    ASSERT_EQ(c.entries.size(), 3u);
    EXPECT_LE(c.entries[0], 0) << name;
    EXPECT_EQ(c.entries[1], 0) << name;
    EXPECT_GE(c.entries[2], 0) << name;
  }
  EXPECT_LT(out.result.c_steps.back().distance, 1.5);
  EXPECT_GT(out.after, 0.85);  // two levels after direct compression: 0.74
}

TEST(Qat, RefusesPlansItCannotServe) {
  nn::Trainer trainer = reference(10);
  const auto error_of = [&](const std::string& kind, int k,
                            std::int64_t group_rows) -> std::string {
    QatOptions options;
    options.kind = kind;
    Qat qat = qat_of(options);
    const auto plan = plan_compression(trainer.parameters(), trainer.state(),
                                       {{CodebookSpec::adaptive(k), group_rows}});
    try {
      qat.begin(trainer, plan, Scores());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of("twn", 2, 0).find("must have 2 bits, which three levels take"),
            std::string::npos);
  EXPECT_NE(error_of("lsq", 2, 2).find("one codebook for the tensor"), std::string::npos);
  EXPECT_EQ(error_of("ste", 2, 2), "");
}

TEST(Plan, MethodsRefuseCodebooksTheyDoNotMake) {
  nn::Trainer trainer = reference(10);
  const auto error_of = [&](const Method& method, const Policy& policy) {
    const auto plan = plan_compression(trainer.parameters(), trainer.state(), policy);
    return test::error_of([&] { method.require(plan); });
  };
  const auto one = [](CodebookSpec spec, std::int64_t rows = 0) {
    return Policy{{std::move(spec), rows}};
  };
  const Qar qar(QarOptions{});
  EXPECT_EQ(error_of(qar, one(CodebookSpec::adaptive(4))), "no error");
  EXPECT_EQ(error_of(qar, one(CodebookSpec::uniform(3))), "no error");
  EXPECT_NE(error_of(qar, one(CodebookSpec::uniform(3).with_scale_block(8))), "no error");
  EXPECT_EQ(error_of(qar, one(CodebookSpec::powers_of_two(3))),
            "qar does not make codebooks of pow2:3, which 'fc1.weight' is to have");
  QarOptions soft;
  soft.family = ClusterRegularizer::Family::soft;
  EXPECT_NE(error_of(Qar(soft), one(CodebookSpec::adaptive(2), 2)).find("2 rows"),
            std::string::npos);
  QatOptions lsq;
  lsq.kind = "lsq";
  EXPECT_NE(error_of(qat_of(lsq), one(CodebookSpec::adaptive(3))).find("adaptive:3"),
            std::string::npos);
  QatOptions ste;
  ste.kind = "ste";
  EXPECT_EQ(error_of(qat_of(ste), one(CodebookSpec::scaled_binary())), "no error");
  const MocqAuthors authors(MocqAuthorsOptions{});
  EXPECT_EQ(error_of(authors, one(CodebookSpec::adaptive(4))), "no error");
  EXPECT_NE(error_of(authors, one(CodebookSpec::adaptive(4), 2)).find("2 rows"), std::string::npos);
  const Policy mixed{{CodebookSpec::adaptive(4), 0},
                     {{"fc2.weight", TensorChoice{CodebookSpec::adaptive(8), 0}}}};
  EXPECT_EQ(error_of(authors, mixed),
            "mocq-authors has one step for all tensors: 'fc2.weight' is to have 3 bits, but "
            "'fc1.weight' 2");
}

TEST(Mocq, EntriesFollowTheWeightsIntoTheFirstQuantizedEpoch) {
  nn::Trainer trainer = reference(10);
  MocqOptions options;
  options.schedule.epochs = 6;
  options.forward.hard_from = 0.1;  // the first is not quantized
  Mocq mocq(options);
  const auto plan =
      plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::adaptive(2), 0}});
  mocq.begin(trainer, plan, Scores());
  const auto entries = [&] {
    return std::as_const(trainer.state()).get("fc1.weight.representatives").to_vector<float>();
  };
  const auto shift = [&](float by) {
    Tensor w = trainer.state().get("fc1.weight");
    for (float& v : w.span<float>()) v += by;
    trainer.state().mark_updated("fc1.weight");
  };
  const float before = entries()[0];
  shift(1);
  mocq.after_update(trainer, 0.5, 0.75);
  EXPECT_EQ(entries()[0], before);
  mocq.after_update(trainer, 0.75, 1);
  EXPECT_NEAR(entries()[0], before + 1, 1e-5);
  shift(1);
  mocq.after_update(trainer, 1.75, 2);
  EXPECT_NEAR(entries()[0], before + 1, 1e-5);  // trained from here on
}

TEST(Methods, OneAfterTheOtherInOneTrainer) {
  const Scores data;
  const auto entries = [&](nn::Trainer& trainer, int k) {
    QarOptions options;
    options.schedule = {.epochs = 4, .lr = 0.05};
    Qar qar(options);
    const auto plan =
        plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::adaptive(k), 0}});
    const auto done = compress(trainer, data, plan, qar);
    return done.codebooks.at("fc1.weight").entries;
  };
  nn::Trainer once = reference(10), twice = reference(10);
  const State start = twice.state().clone();
  entries(twice, 2);
  nn::set_weights(twice, start);
  // Momentum, averages and entries of the run before are gone.
  EXPECT_EQ(entries(twice, 4), entries(once, 4));
}

TEST(Plan, MethodsOfSingleTensorsRefuseSharedCodebooksAndCorrections) {
  nn::Trainer trainer = reference(10);
  Policy shared{{CodebookSpec::adaptive(2), 0}}, sparse{{CodebookSpec::adaptive(2), 0, 0.01}};
  shared.shared = {"fc.*weight"};
  AnyMethod methods[] = {fisher_compression(), adaround({}),
                         std::make_unique<Qat>(qat_of({"lsq", {}}))};
  for (AnyMethod& method : methods) {
    const auto error_of = [&](const Policy& policy) {
      const auto plan = plan_compression(trainer.parameters(), trainer.state(), policy);
      return test::error_of([&] { compress(trainer, Scores(), plan, method); });
    };
    EXPECT_EQ(error_of(shared), method.name() +
                                    ": 'fc1.weight' is to have a shared codebook; dc, idc and lc "
                                    "fit those");
    EXPECT_EQ(error_of(sparse), method.name() +
                                    ": 'fc1.weight' is to have a sparse correction; dc, idc and lc "
                                    "fit those");
  }
}

TEST(Spectral, VectorsAreOrthonormalAndExplainTheMost) {
  // Rows of rank 2 and a little noise: two vectors explain nearly all.
  Tensor w(DType::f32, {9, 5});
  Rng rng(3, 1);
  std::vector<float> a(9), b(9), u(5), v(5);
  for (auto* list : {&a, &b, &u, &v}) {
    for (float& x : *list) x = rng.normal();
  }
  auto values = w.span<float>();
  double all = 0;
  for (std::size_t i = 0; i < 45; ++i) {
    values[i] = 3 * a[i / 5] * u[i % 5] + b[i / 5] * v[i % 5] + 1e-3f * rng.normal();
    all += static_cast<double>(values[i]) * values[i];
  }
  const Tensor f = leading_left_vectors(w, 2);
  const auto basis = f.span<float>();
  double inside = 0;
  for (int j = 0; j < 2; ++j) {
    for (int k = 0; k < 2; ++k) {
      double product = 0;
      for (int r = 0; r < 9; ++r)
        product += static_cast<double>(basis[r * 2 + j]) * basis[r * 2 + k];
      EXPECT_NEAR(product, j == k, 1e-6);
    }
    for (int c = 0; c < 5; ++c) {
      double along = 0;
      for (int r = 0; r < 9; ++r)
        along += static_cast<double>(basis[r * 2 + j]) * values[r * 5 + c];
      inside += along * along;
    }
  }
  EXPECT_GT(inside, all * (1 - 1e-5));
  // More vectors than rows: the rest is zero.
  const Tensor many = leading_left_vectors(w, 12);
  for (int r = 0; r < 9; ++r) EXPECT_EQ(many.span<float>()[r * 12 + 11], 0);
}

}  // namespace
}  // namespace tessera::quant
