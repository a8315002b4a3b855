// Work after training that is interrupted: thrown out of, wherever it is.
#include "core/interrupt.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "core/files/checkpoint.h"
#include "datasets/synthetic_digits.h"
#include "datasets/synthetic_images.h"
#include "nn/classification.h"
#include "nn/conv.h"
#include "nn/norm.h"
#include "quant/calibrate/activations.h"
#include "quant/calibrate/batch_norm.h"
#include "quant/method/adaround.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/plan/sensitivity.h"
#include "tests/datasets/temp_dir.h"
#include "tests/fill_xy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using tessera::testing::sample_of;
using test::Scores;

// Interrupts when its n-th batch is asked for.
class Interrupting final : public BatchSource {
 public:
  explicit Interrupting(int n) : left_(n), scores_(3000) {}  // of more than one evaluation batch
  std::string name() const override { return scores_.name(); }
  std::int64_t samples() const override { return scores_.samples(); }
  std::vector<Field> fields() const override { return scores_.fields(); }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    if (--left_ == 0) set_interrupted(true);
    scores_.fill(epoch, first, batch);
  }
  // Batches asked for after that.
  int late() const { return std::max(0, -left_); }

 private:
  mutable int left_;
  Scores scores_;
};

class Interrupt : public ::testing::Test {
 protected:
  void TearDown() override { set_interrupted(false); }

  nn::Trainer trainer_ = test::reference();
  Graph graph_ = nn::inference_graph(trainer_);
  CompressionPlan plan_ = plan_compression(trainer_.parameters(), trainer_.state(),
                                           {{CodebookSpec::adaptive(4), 0}, {}});
};

TEST_F(Interrupt, StopsBetweenBatches) {
  const Interrupting evaluated(3), walked(3), counted(3);
  nn::Evaluator evaluate(clone(graph_), trainer_.task());
  EXPECT_THROW(evaluate(trainer_.state(), evaluated, 10), Interrupted);
  EXPECT_EQ(evaluated.late(), 0);
  set_interrupted(false);
  EXPECT_THROW(CalibrationSet(walked, 50), Interrupted);
  EXPECT_EQ(walked.late(), 0);
  set_interrupted(false);
  EXPECT_THROW(
      fisher_information(graph_, *trainer_.task(), trainer_.state(), plan_.compressed(), counted),
      Interrupted);
  EXPECT_EQ(counted.late(), 0);
}

TEST_F(Interrupt, StopsEveryWalkOverCalibrationSamples) {
  const CalibrationSet samples(Scores(), 40);
  auto tensors = candidates(trainer_.parameters(), trainer_.state(), {});
  const auto layers = layers_of(graph_, plan_.compressed());
  set_interrupted(true);
  for (const auto kind : {Sensitivity::loss, Sensitivity::fisher}) {
    EXPECT_THROW(measure_costs(tensors, graph_, trainer_.task(), trainer_.state(), samples, kind),
                 Interrupted);
  }
  EXPECT_THROW(activations(layers[1].input(), trainer_.state(), samples), Interrupted);
  EXPECT_THROW(fit_range(samples.tensors().at("x").span<float>(), {.bits = 4}), Interrupted);

  auto net = std::make_shared<nn::Sequential>();
  net->add("conv", nn::Conv2d(3, 4, {3, 3})).add("bn", nn::BatchNorm2d(4));
  net->add("pool", nn::GlobalAvgPool2d()).add("fc", nn::Linear(4, 3));
  const test::Noise noise;
  nn::Trainer images = nn::classifier(net, sample_of(noise), 3);
  Model model = nn::inference_model(images);
  EXPECT_THROW(reestimate_batch_norm(model, noise, 10), Interrupted);
}

// What nobody interrupts takes hours.
TEST_F(Interrupt, StopsAdaRoundWithinASecondAndCompressSaysSo) {
  const PostTraining method = adaround({.samples = 40, .iterations = 1'000'000'000});
  std::jthread other([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    set_interrupted(true);
  });
  const auto start = std::chrono::steady_clock::now();
  const CompressResult result = compress(trainer_, Scores(), plan_, method);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_FALSE(result.finished);
  EXPECT_GT(seconds.count(), 0.2);
  EXPECT_LT(seconds.count(), 3);
}

// What a run tells of its C steps, wherever its evaluations are stopped: nothing is missing.
TEST_F(Interrupt, AnEvaluationThatIsStoppedIsDoneAgain) {
  struct Told final : nn::Observer {
    using Fields = std::vector<std::pair<std::string, std::string>>;
    std::map<std::string, Fields> steps;
    void on_event(const std::string& event, const Fields& fields) override {
      if (event == "c_step") steps[fields[0].second] = fields;
    }
  };
  const auto run = [&](int interrupted_at, const std::filesystem::path& checkpoint, Told& told) {
    LcOptions options;
    options.alternation = {.steps = 3, .epochs = 1, .first_epochs = 1, .lr = 0.05};
    LearningCompression method(options);
    const Interrupting tested(interrupted_at);
    CompressOptions how;
    how.test = &tested;
    how.checkpoint = checkpoint;
    how.resume = true;
    how.observer = &told;
    nn::Trainer trainer = test::reference();
    const CompressResult result = compress(trainer, Scores(), plan_, method, how);
    set_interrupted(false);
    return result;
  };
  Told whole, parts;
  ASSERT_TRUE(run(-1, {}, whole).finished);
  ASSERT_EQ(whole.steps.size(), 4u);  // the first before training
  const datasets::TempDir folder;
  int runs = 0;
  while (!run(2 + 3 * runs, folder.path() / "c", parts).finished) ASSERT_LT(++runs, 9);
  EXPECT_GE(runs, 3);
  EXPECT_EQ(parts.steps, whole.steps);
}

// What is saved goes on before the last step, so that the test is done again.
TEST_F(Interrupt, AnEpochWhoseTestIsStoppedIsSaved) {
  const datasets::TempDir folder;
  const Interrupting tested(1);
  nn::FitOptions options;
  options.epochs = 5;
  options.lr = nn::constant(0.01);
  options.test = &tested;
  options.checkpoint = folder.path() / "c";
  options.checkpoint_seconds = 1e6;
  const nn::FitResult result = nn::fit(trainer_, Scores(), options);
  EXPECT_FALSE(result.finished);
  const CheckpointInfo saved = load_checkpoint(options.checkpoint).info;
  EXPECT_EQ(saved.epoch, 0);
  EXPECT_EQ(saved.step, trainer_.steps_per_epoch(Scores()) - 1);
  EXPECT_EQ(result.position.epoch, saved.epoch);
  EXPECT_EQ(result.position.step, saved.step);
}

TEST_F(Interrupt, StopsTheMakingOfImages) {
  set_interrupted(true);
  EXPECT_THROW(datasets::synthetic_digits({.train = 64, .test = 1}), Interrupted);
  EXPECT_THROW(datasets::synthetic_images({.train = 64, .test = 1}), Interrupted);
}

}  // namespace
}  // namespace tessera::quant
