// Losses that divide by what a batch has several of (tokens, places with an object), and several
// losses that are weighed: ranks have unequal shares of them and train as one process does.
#include <gtest/gtest.h>

#include "datasets/random_samples.h"
#include "datasets/synthetic_text.h"
#include "models/detector.h"
#include "models/lstm.h"
#include "nn/detection_task.h"
#include "nn/language_model.h"
#include "tests/mpi/joint.h"

namespace tessera::nn {
namespace {

using tessera::testing::epochs;
using tessera::testing::expect_joint;
using tessera::testing::Make;
using tessera::testing::Outcome;
using tessera::testing::Train;
using tessera::testing::train;

constexpr std::int64_t kStreams = 6, kSteps = 5;

// A text in six streams, of which the later ones count fewer tokens, the last one often none.
class UnevenText final : public BatchSource {
 public:
  UnevenText()
      : split_(datasets::synthetic_text({.train = 900, .validation = 100, .test = 100})),
        streams_(std::make_shared<datasets::Text>(split_.train), tokens(), kStreams, kSteps) {}
  std::int64_t tokens() const { return split_.vocabulary->size(); }
  std::string name() const override { return "uneven text"; }
  std::int64_t samples() const override { return streams_.samples(); }
  std::int64_t lanes() const override { return streams_.lanes(); }
  std::vector<Field> fields() const override { return streams_.fields(); }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    streams_.fill(epoch, first, batch);
    const auto found = batch.find("weight");
    if (found == batch.end()) return;
    auto weight = found->second.span<float>();
    for (std::size_t i = 0; i < weight.size(); ++i) {
      const auto sample = first + static_cast<std::int64_t>(i) / kSteps;
      const std::int64_t stream = sample % kStreams, window = sample / kStreams;
      const std::int64_t least = stream - 1 + window % 2;
      if (static_cast<std::int64_t>(i) % kSteps < least) weight[i] = 0;
    }
  }

 private:
  datasets::TextSplit split_;
  datasets::TextStreams streams_;
};

Make language_model(std::int64_t tokens) {
  return [=](Ranks ranks) {
    TrainerOptions options;
    options.batch = kStreams;
    options.optimizer.momentum = 0;
    options.optimizer.clip_norm = 0.25;
    options.ranks = ranks;
    const models::LstmSize size{.layers = 1, .hidden = 12, .dropout = 0.2};
    return Trainer(std::make_shared<models::LstmLanguageModel>(tokens, size),
                   std::make_shared<LanguageModeling>(kSteps, tokens), options);
  };
}

TEST(JointTasks, TokensOfAllRanks) {
  const UnevenText data;
  for (const double lr : {1.0, 20.0}) {
    const auto make = language_model(data.tokens());
    const auto joint = train(1, make, epochs(data, 2, lr));
    for (const int ranks : {2, 3, 6}) {  // of six the last one often counts nothing
      SCOPED_TRACE(cat(ranks, " ranks, ", lr));
      expect_joint(joint[0], train(ranks, make, epochs(data, 2, lr)), 1e-5);
    }
  }
}

// The same by targets that are distributions, as distillation has them.
class Smoothed final : public TaskLoss {
 public:
  Value loss(StepBuilder& step) const override {
    return step.task.loss_to(step.field, step.outputs,
                             step.task.target(step.field, step.outputs, 0.1));
  }
};

TEST(JointTasks, TokensOfSoftTargets) {
  const UnevenText data;
  const Make make = [&](Ranks ranks) {
    Trainer trainer = language_model(data.tokens())(ranks);
    trainer.set_task_loss(std::make_shared<Smoothed>());
    return trainer;
  };
  const auto joint = train(1, make, epochs(data, 1, 5));
  for (const int ranks : {2, 3, 6})
    expect_joint(joint[0], train(ranks, make, epochs(data, 1, 5)), 1e-5);
}

// Pictures of noise with objects at random, many of which have no area; some pictures have none.
struct Boxes {
  models::DetectorOptions net{.widths = {6, 8, 8, 8},
                              .blocks = {1, 1, 1},
                              .sample = {3, 32, 32},
                              .kinds = 3,
                              .strides = {4, 8},
                              .channels = 8,
                              .convolutions = 1};
  std::shared_ptr<Detection> task = std::make_shared<Detection>(net.sample, net.kinds, 4);
  datasets::RandomSamples data{"boxes", task->fields(), 24, 3};

  Make make(const std::string& weighting, std::int64_t batch = 12) const {
    return [this, weighting, batch](Ranks ranks) {
      TrainerOptions options;
      options.batch = batch;
      options.weighting.name = weighting;
      options.ranks = ranks;
      return Trainer(std::make_shared<models::Detector>(net), task, options);
    };
  }
};

TEST(JointTasks, ObjectsOfAllRanks) {
  const Boxes boxes;
  const auto make = boxes.make("sum");
  const auto joint = train(1, make, epochs(boxes.data, 3, 0.01));
  for (const int ranks : {2, 3, 12})
    expect_joint(joint[0], train(ranks, make, epochs(boxes.data, 3, 0.01)), 2e-5);
}

// What weighs the losses of scores and of boxes sees the joint ones and their joint gradients.
TEST(JointTasks, WeighedLosses) {
  const Boxes boxes;
  for (const char* weighting : {"famo", "mgda", "uncertainty"}) {
    SCOPED_TRACE(weighting);
    const Train run = [&](Trainer& trainer, Outcome& outcome) {
      epochs(boxes.data, 3, 0.01)(trainer, outcome);
      EXPECT_FALSE(trainer.weighting().empty());
      for (const auto& [name, value] : trainer.weighting()) outcome.losses.push_back(value);
    };
    const auto joint = train(1, boxes.make(weighting), run);
    for (const int ranks : {2, 3})
      expect_joint(joint[0], train(ranks, boxes.make(weighting), run), 5e-5);
  }
}

}  // namespace
}  // namespace tessera::nn
