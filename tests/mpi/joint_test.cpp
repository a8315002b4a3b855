// Ranks train as one process with the joint batch would: the same losses and states up to rounding,
// and the same on every rank to the bit.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <mutex>

#include "core/interrupt.h"
#include "nn/fit.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/method/method_list.h"
#include "tests/datasets/temp_dir.h"
#include "tests/error_of.h"
#include "tests/mpi/thread_ranks.h"
#include "tests/quant/scores.h"

namespace tessera::nn {
namespace {

using tessera::test::Noise;
using tessera::test::Scores;
using tessera::testing::error_of;
using tessera::testing::on_ranks;

// What a training came to on each rank; one entry without ranks.
struct Outcome {
  std::vector<double> losses;  // by step, mean of the epoch so far
  State state;                 // as a checkpoint holds it
  std::string text;            // whatever else a test wants to compare
};

using Make = std::function<Trainer(Ranks)>;
using Train = std::function<void(Trainer&, Outcome&)>;

std::vector<Outcome> train(int ranks, const Make& make, const Train& train, Ranks how = {},
                           int slow = 0) {
  std::vector<Outcome> out(static_cast<std::size_t>(ranks));
  const auto one = [&](Communicator* communicator) {
    how.communicator = communicator;
    Trainer trainer = make(Ranks{communicator, how.gradients, how.bucket_bytes});
    Outcome& outcome = out[static_cast<std::size_t>(communicator ? communicator->rank() : 0)];
    train(trainer, outcome);
    outcome.state = trainer.whole_state().clone();
  };
  if (ranks == 1) {
    one(nullptr);
  } else {
    on_ranks(
        ranks, [&](Communicator& rank) { one(&rank); }, slow);
  }
  return out;
}

Train epochs(const BatchSource& data, int n, double lr = 0.05) {
  return [&data, n, lr](Trainer& trainer, Outcome& outcome) {
    Position position;
    for (int epoch = 0; epoch < n; ++epoch) {
      trainer.train_epoch(data, position, constant(lr),
                          [&](const StepReport& s) { outcome.losses.push_back(s.loss); });
    }
  };
}

// `tolerance` of losses and, relative to the largest element, of states.
void expect_joint(const Outcome& joint, const std::vector<Outcome>& ranks, double tolerance) {
  for (const Outcome& one : ranks) {
    ASSERT_EQ(one.losses.size(), joint.losses.size());
    for (std::size_t i = 0; i < joint.losses.size(); ++i)
      ASSERT_NEAR(one.losses[i], joint.losses[i], tolerance * (1 + joint.losses[i]))
          << "step " << i;
    EXPECT_TRUE(equal_bits(one.state, ranks[0].state)) << "ranks differ";
  }
  for (const auto& [name, entry] : joint.state.entries()) {
    ASSERT_TRUE(ranks[0].state.has(name)) << name;
    if (entry.tensor.dtype() != DType::f32) continue;
    const auto a = entry.tensor.span<float>();
    const auto b = std::as_const(ranks[0].state).get(name).span<float>();
    ASSERT_EQ(a.size(), b.size()) << name;
    float most = 1e-3f;
    for (const float v : a) most = std::max(most, std::fabs(v));
    for (std::size_t i = 0; i < a.size(); ++i)
      ASSERT_NEAR(a[i], b[i], 10 * tolerance * most) << name << " " << i;
  }
}

std::shared_ptr<Sequential> dense_network() {
  auto net = std::make_shared<Sequential>();
  net->add("fc1", Linear(20, 30)).add("act", Tanh()).add("drop", Dropout(0.25));
  net->add("fc2", Linear(30, 4));
  return net;
}

Make dense(std::int64_t batch = 60, double clip = 0, const std::string& weighting = "sum") {
  return [=](Ranks ranks) {
    TrainerOptions options;
    options.batch = batch;
    options.optimizer.clip_norm = clip;
    options.weighting.name = weighting;
    options.ranks = ranks;
    return classifier(dense_network(), {20}, 4, options);
  };
}

// 600 samples are ten batches of 60; 250 end with one of 10.
TEST(Joint, DenseNetworkWithDropout) {
  const Scores data;
  const auto joint = train(1, dense(), epochs(data, 3));
  for (const int ranks : {2, 3, 4}) {
    SCOPED_TRACE(cat(ranks, " ranks"));
    expect_joint(joint[0], train(ranks, dense(), epochs(data, 3)), 2e-6);
  }
}

TEST(Joint, AShortLastBatch) {
  const Scores data(250);
  const auto joint = train(1, dense(), epochs(data, 3));
  expect_joint(joint[0], train(2, dense(), epochs(data, 3)), 2e-6);
}

// Of 253 samples the last batch has 13: two ranks train on 12 of them.
TEST(Joint, LeavesOutWhatCannotBeShared) {
  const Scores data(253), fewer(252);
  const auto joint = train(1, dense(), epochs(fewer, 1));
  const auto ranks = train(2, dense(), epochs(data, 1));
  EXPECT_EQ(ranks[0].losses.size(), joint[0].losses.size());
  const Scores one_more(241);  // a last batch of one is left out
  EXPECT_EQ(train(2, dense(), epochs(one_more, 1))[0].losses.size(), 4u);
}

TEST(Joint, ClippedByTheNormOfTheMean) {
  const Scores data;
  const auto joint = train(1, dense(60, 0.05), epochs(data, 2));
  expect_joint(joint[0], train(2, dense(60, 0.05), epochs(data, 2)), 2e-6);
}

TEST(Joint, InBucketsOfAnySize) {
  const Scores data;
  Ranks small;
  small.bucket_bytes = 100;
  const auto one = train(2, dense(), epochs(data, 2));
  const auto many = train(2, dense(), epochs(data, 2), small);
  EXPECT_TRUE(equal_bits(one[0].state, many[0].state));
}

TEST(Joint, RepeatsItsBitsHoweverSlowARankIs) {
  const Scores data;
  const auto a = train(3, dense(), epochs(data, 2)), b = train(3, dense(), epochs(data, 2), {}, 30);
  EXPECT_EQ(a[0].losses, b[0].losses);
  EXPECT_TRUE(equal_bits(a[0].state, b[0].state));
}

// The first bucket is on its way while the rest of the backward pass runs.
TEST(Joint, GradientsLeaveAsSoonAsTheyAreThere) {
  Ranks small;
  small.bucket_bytes = 100;
  train(
      2, dense(),
      [](Trainer& trainer, Outcome&) {
        const auto& steps = trainer.train_plan(30).steps();
        std::size_t first_start = steps.size(), first_finish = steps.size(), last_product = 0;
        for (std::size_t i = 0; i < steps.size(); ++i) {
          if (steps[i].op == "all_reduce_start") first_start = std::min(first_start, i);
          if (steps[i].op == "all_reduce_finish") first_finish = std::min(first_finish, i);
          if (steps[i].op == "matmul") last_product = i;
        }
        EXPECT_LT(first_start, last_product);
        EXPECT_LT(last_product, first_finish);
      },
      small);
}

Make images(std::int64_t batch = 16) {
  return [=](Ranks ranks) {
    TrainerOptions options;
    options.batch = batch;
    options.ranks = ranks;
    return classifier(test::noise_network(), {3, 9, 8}, 3, options);
  };
}

// Normalized by the moments of the joint batch, of which the running statistics are made.
TEST(Joint, BatchNorm) {
  const Noise data(72);
  const auto joint = train(1, images(), epochs(data, 3));
  expect_joint(joint[0], train(2, images(), epochs(data, 3)), 2e-5);
  expect_joint(joint[0], train(4, images(), epochs(data, 3)), 2e-5);
}

TEST(Joint, RefusesABatchThatRanksCannotShare) {
  EXPECT_EQ(error_of([] { on_ranks(3, [](Communicator& r) { dense(64)(Ranks{&r}); }); }),
            "a batch of 64 cannot be shared evenly by 3 ranks; expected a multiple");
}

// ---- codes ----

TEST(Coded, TrainsNearlyAsWell) {
  const Scores data;
  const auto plain = train(2, dense(), epochs(data, 12));
  for (const char* code : {"bf16", "codebook:2", "codebook:16"}) {
    Ranks how;
    how.gradients = GradientCode::parse(code);
    const auto coded = train(2, dense(), epochs(data, 12), how);
    EXPECT_TRUE(equal_bits(coded[0].state, coded[1].state)) << code;
    EXPECT_NEAR(coded[0].losses.back(), plain[0].losses.back(), 0.08) << code;
    const auto again = train(2, dense(), epochs(data, 12), how, 30);
    EXPECT_TRUE(equal_bits(coded[0].state, again[0].state)) << code;
  }
}

// ---- methods ----

quant::CompressionPlan plan_of(Trainer& trainer) {
  return quant::plan_compression(trainer.parameters(), trainer.state(),
                                 {.weights = {quant::CodebookSpec::adaptive(4)}});
}

Train compressed(const std::string& method, const BatchSource& data,
                 const std::vector<std::pair<std::string, std::string>>& settings) {
  return [=, &data](Trainer& trainer, Outcome& outcome) {
    Position position;
    trainer.train_epoch(data, position, constant(0.1));
    Settings s = quant::method_settings();
    for (const auto& [name, value] : settings) s.read(name, value);
    auto made = quant::method_row(method).make(s, 1);
    const auto result = quant::compress(trainer, data, plan_of(trainer), made);
    for (const auto& step : result.c_steps)
      outcome.text += cat(step.step, " ", step.distance, " ", step.changed, "\n");
    for (const TermReport& t : trainer.terms()) outcome.losses.push_back(t.coefficient);
    for (const auto& [name, c] : result.codebooks) {
      for (const float e : c.entries) outcome.losses.push_back(e);
    }
  };
}

const std::vector<std::pair<std::string, std::string>> kLc = {
    {"lc-steps", "3"}, {"lc-epochs", "1"}, {"first-epochs", "1"}, {"lr", "0.05"}, {"mu", "0.01"}};
const std::vector<std::pair<std::string, std::string>> kTrained = {{"train-epochs", "4"},
                                                                   {"train-lr", "0.05"}};

TEST(JointMethods, LearningCompression) {
  const Scores data;
  const auto joint = train(1, dense(), compressed("lc", data, kLc));
  expect_joint(joint[0], train(2, dense(), compressed("lc", data, kLc)), 1e-4);
}

// The coefficients follow the norms of the mean gradient, the memory has every sample.
TEST(JointMethods, MocqWithMemory) {
  const Scores data;
  const auto joint = train(1, dense(), compressed("mocq", data, kTrained));
  const auto ranks = train(2, dense(), compressed("mocq", data, kTrained));
  expect_joint(joint[0], ranks, 2e-3);
  // Every row of the memory is a distribution.
  const Tensor& memory = std::as_const(ranks[0].state).get("distill.memory");
  for (std::int64_t i = 0; i < memory.shape()[0].value(); ++i) {
    double sum = 0;
    for (std::int64_t c = 0; c < 4; ++c) sum += element(memory, 4 * i + c);
    ASSERT_NEAR(sum, 1, 0.02) << "sample " << i;
  }
}

TEST(JointMethods, Qar) {
  const Scores data;
  const auto joint = train(1, dense(), compressed("qar", data, kTrained));
  expect_joint(joint[0], train(2, dense(), compressed("qar", data, kTrained)), 2e-3);
}

// ---- checkpoints ----

struct Loop {
  FitOptions options;
  explicit Loop(const std::filesystem::path& file) {
    options.epochs = 4;
    options.lr = constant(0.05);
    options.checkpoint = file;
    options.checkpoint_seconds = 1e9;
    options.resume = true;
  }
};

// A training of `before` ranks that a failing rank ends in its second epoch, gone on with by
// `after`.
void resume_after_failure(int before, int after, const Make& make, const BatchSource& data,
                          double tolerance) {
  SCOPED_TRACE(cat(before, " ranks, then ", after));
  tessera::datasets::TempDir folder;
  const auto file = folder.path() / "checkpoint";
  const auto joint = train(1, make, [&](Trainer& t, Outcome&) {
    Loop loop({});
    loop.options.checkpoint.clear();
    fit(t, data, loop.options);
  });
  std::string said;
  on_ranks(before, [&](Communicator& rank) {
    Trainer trainer = make(Ranks{&rank});
    rank.set_patience(20);
    Loop loop(file);
    loop.options.after_update = [&](double, double to) {
      if (rank.rank() + 1 == before && to > 1.25) {
        rank.give_up("killed");
        throw CommunicationError("dead");
      }
    };
    const std::string what = error_of([&] { fit(trainer, data, loop.options); });
    if (rank.rank() == 0) said = what;
  });
  EXPECT_EQ(said, cat("rank ", before - 1, ": killed"));
  ASSERT_TRUE(std::filesystem::exists(file));
  const auto rest = train(after, make, [&](Trainer& t, Outcome&) {
    Loop loop(file);
    Position position;
    ASSERT_TRUE(resume_from(t, loop.options, position));
    EXPECT_EQ(position.epoch, 1);
    EXPECT_GT(position.step, 0);  // nothing but the step that failed is done again
    loop.options.from = position;
    EXPECT_TRUE(fit(t, data, loop.options).finished);
  });
  expect_joint(joint[0], rest, tolerance);
}

TEST(JointCheckpoint, SurvivesARankAndServesAnyNumber) {
  const Scores data;
  for (const int after : {1, 2, 3}) resume_after_failure(2, after, dense(), data, 2e-6);
  resume_after_failure(3, 1, dense(), data, 2e-6);
}

// The residuals of the codes go with it: the same number of ranks goes on as if nothing had been.
TEST(JointCheckpoint, KeepsWhatCodesHaveLost) {
  const Scores data;
  tessera::datasets::TempDir folder;
  Ranks how;
  how.gradients = GradientCode::parse("codebook:4");
  const auto fitted = [&](std::int64_t epochs, std::int64_t stop) {
    return [&, epochs, stop](Trainer& t, Outcome&) {
      Loop loop(folder.path() / "checkpoint");
      loop.options.epochs = epochs;
      loop.options.after_update = [stop](double, double to) {
        if (to > static_cast<double>(stop)) set_interrupted(true);
      };
      fit(t, data, loop.options);
    };
  };
  const auto whole = train(2, dense(), fitted(4, 100), how);
  std::filesystem::remove(folder.path() / "checkpoint");
  train(2, dense(), fitted(4, 1), how);
  set_interrupted(false);
  ASSERT_TRUE(std::filesystem::exists(folder.path() / "checkpoint"));
  const auto rest = train(2, dense(), fitted(4, 100), how);
  EXPECT_TRUE(equal_bits(whole[0].state, rest[0].state));
  EXPECT_EQ(whole[0].state.get("gradients.0.residual").shape()[0], Dim(2));
  // Another number of ranks goes on with the mean of the residuals.
  std::filesystem::remove(folder.path() / "checkpoint");
  train(2, dense(), fitted(4, 1), how);
  set_interrupted(false);
  const auto three = train(3, dense(), fitted(4, 100), how);
  EXPECT_TRUE(equal_bits(three[0].state, three[2].state));
}

TEST(JointStart, RanksThatDifferAreRefused) {
  const Scores data, fewer(540);
  const auto refused = [&](const std::function<void(Communicator&)>& body) {
    return error_of([&] { on_ranks(2, body); });
  };
  EXPECT_EQ(refused([&](Communicator& rank) {
              Trainer t = dense()(Ranks{&rank});
              Loop loop({});
              fit(t, rank.rank() == 0 ? static_cast<const BatchSource&>(data) : fewer,
                  loop.options);
            }),
            "rank 1 has another set of training samples than rank 0; all ranks of a training must "
            "have the same");
  EXPECT_EQ(refused([&](Communicator& rank) {
              Trainer t = dense(60, rank.rank())(Ranks{&rank});
              Loop loop({});
              fit(t, data, loop.options);
            }),
            "rank 1 has another configuration than rank 0; all ranks of a training must have the "
            "same");
  EXPECT_EQ(refused([&](Communicator& rank) {
              Trainer t = dense()(Ranks{&rank});
              if (rank.rank() == 1) t.state().set("fc2.bias", Tensor(DType::f32, {4}));
              Loop loop({});
              fit(t, data, loop.options);
            }),
            "rank 1 has another start (weights and states) than rank 0; all ranks of a training "
            "must have the same");
}

}  // namespace
}  // namespace tessera::nn
