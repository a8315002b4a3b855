// The first steps on CIFAR-10 and the Penn Treebank: two ranks lie as close to one process as that
// process to itself with weights that are changed in their last bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "core/rng.h"
#include "datasets/batches.h"
#include "datasets/cifar.h"
#include "datasets/text.h"
#include "models/lstm.h"
#include "models/resnet_cifar.h"
#include "nn/classification.h"
#include "nn/language_model.h"
#include "tests/data_dir.h"
#include "tests/mpi/joint.h"
#include "timing/full_batches.h"

namespace tessera::nn {
namespace {

using tessera::testing::epochs;
using tessera::testing::Make;
using tessera::testing::train;

// What the losses of `data`, mean of the epoch so far, come to.
void expect_close(const Make& make, const BatchSource& data, double lr) {
  const auto one = train(1, make, epochs(data, 1, lr)), two = train(2, make, epochs(data, 1, lr));
  const Make changed = [&](Ranks ranks) {
    Trainer trainer = make(ranks);
    for (const ParameterSpec& p : trainer.parameters()) {
      Tensor weights = trainer.state().get(p.name).clone();
      Rng rng(1, stable_id(p.name));
      for (float& v : weights.span<float>())
        v = std::nextafter(v, rng.uniform(-1, 1) < 0 ? -9.f : 9.f);
      trainer.state().set(p.name, weights);
    }
    return trainer;
  };
  const auto other = train(1, changed, epochs(data, 1, lr));
  double apart = 0, rounding = 0;
  for (std::size_t i = 0; i < one[0].losses.size(); ++i) {
    const double loss = one[0].losses[i];
    apart = std::max(apart, std::fabs(two[0].losses[i] - loss));
    rounding = std::max(rounding, std::fabs(other[0].losses[i] - loss));
    if ((i + 1) % 20 == 0 || i < 3)
      std::cout << "step " << i + 1 << ": loss " << loss << ", two ranks until here apart by "
                << apart << ", weights changed in the last bit " << rounding << std::endl;
    EXPECT_LE(std::fabs(two[0].losses[i] - loss), 1e-6 + 10 * rounding) << "step " << i + 1;
  }
}

TEST(JointData, Cifar10) {
  const auto dir = testing::data_dir("cifar10");
  if (!dir) GTEST_SKIP() << "no cifar10 in TESSERA_DATA or ../shared/data";
  constexpr std::int64_t kBatch = 32, kBatches = 60;
  const datasets::Split split = datasets::cifar10(*dir);
  const auto images = std::make_shared<datasets::Batches>(
      split.train, datasets::Preprocess::standard(split.train), datasets::BatchOptions{});
  const Make make = [](Ranks ranks) {
    TrainerOptions options;
    options.batch = kBatch;
    options.ranks = ranks;
    return classifier(std::make_shared<Sequential>(models::resnet_cifar(20)), {3, 32, 32}, 10,
                      options);
  };
  expect_close(make, experiment::FullBatches(images, kBatch, kBatches), 0.002);
}

TEST(JointData, Treebank) {
  const auto dir = testing::data_dir("ptb");
  if (!dir) GTEST_SKIP() << "no ptb in TESSERA_DATA or ../shared/data";
  constexpr std::int64_t kStreams = 20, kSteps = 35, kBatches = 100;
  const datasets::TextSplit split = datasets::read_texts(*dir, datasets::TextUnit::word);
  const std::int64_t tokens = split.vocabulary->size();
  const auto text = std::make_shared<datasets::TextStreams>(
      std::make_shared<datasets::Text>(split.train), tokens, kStreams, kSteps);
  const Make make = [&](Ranks ranks) {
    TrainerOptions options;
    options.batch = kStreams;
    options.optimizer.momentum = 0;
    options.optimizer.clip_norm = 0.25;
    options.ranks = ranks;
    const models::LstmSize size = models::lstm_size("lstm100").size;
    return Trainer(std::make_shared<models::LstmLanguageModel>(tokens, size),
                   std::make_shared<LanguageModeling>(kSteps, tokens), options);
  };
  expect_close(make, experiment::FullBatches(text, kStreams, kBatches), 5);
}

}  // namespace
}  // namespace tessera::nn
