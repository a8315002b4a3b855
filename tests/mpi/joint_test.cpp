// Ranks train as one process with the joint batch would: the same losses and states up to rounding,
// and the same on every rank to the bit.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "core/interrupt.h"
#include "nn/fit.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/method/method_list.h"
#include "tests/datasets/temp_dir.h"
#include "tests/error_of.h"
#include "tests/mpi/joint.h"
#include "tests/mpi/thread_ranks.h"
#include "tests/quant/scores.h"

namespace tessera::nn {
namespace {

using tessera::test::Noise;
using tessera::test::Scores;
using tessera::testing::epochs;
using tessera::testing::error_of;
using tessera::testing::expect_joint;
using tessera::testing::Make;
using tessera::testing::on_ranks;
using tessera::testing::Outcome;
using tessera::testing::Train;
using tessera::testing::train;

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
    Trainer trainer = make(Ranks{&rank, {}, 100});  // many buckets: none may be ahead of another
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

// A checkpoint that rank 0 takes long to write is no dead rank to the others.
TEST(JointCheckpoint, IsWaitedFor) {
  const Scores data;
  tessera::datasets::TempDir folder;
  const auto file = folder.path() / "checkpoint";
  constexpr double kPatience = 2;
  std::atomic<bool> slow = false;
  on_ranks(2, [&](Communicator& rank) {
    rank.set_patience(kPatience);
    TrainerOptions options;
    options.batch = 60;
    options.ranks = Ranks{&rank};
    options.optimizer.group = [&](const std::string&) {  // asked for what a checkpoint notes, too
      if (rank.rank() == 0 && slow.exchange(false))
        std::this_thread::sleep_for(std::chrono::duration<double>(kPatience + 1));
      return ParameterGroup{1, 0.0};
    };
    Trainer trainer = classifier(dense_network(), {20}, 4, options);
    Loop loop(file);
    loop.options.checkpoint_seconds = 0;
    loop.options.epochs = 1;
    loop.options.after_update = [&](double from, double) {
      if (rank.rank() == 0 && from == 0) slow = true;
    };
    EXPECT_TRUE(fit(trainer, data, loop.options).finished);
  });
  EXPECT_FALSE(slow) << "nothing was slow";
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
  // Of programs that differ: they would take each other's gradients for something else.
  EXPECT_EQ(refused([&](Communicator& rank) {
              Ranks how{&rank};
              if (rank.rank() == 1) how.bucket_bytes = 100;
              Trainer t = dense()(how);
              Loop loop({});
              fit(t, data, loop.options);
            }),
            "rank 1 has another order of what ranks exchange in a step than rank 0; all ranks of a "
            "training must have the same");
}

}  // namespace
}  // namespace tessera::nn
