#include "experiment/step_time.h"

#include <algorithm>
#include <chrono>

#include "timing/full_batches.h"
#include "timing/statistics.h"

namespace tessera::experiment {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kWarmUp = 2, kLeast = 4, kMost = 50;
constexpr double kSeconds = 0.5;
constexpr std::uint64_t kSeed = 1;

// Of a batch that the data can fill.
nn::Trainer trainer_of(const Task& task, const BatchSource& data, nn::TrainerOptions options) {
  options.batch = std::min(options.batch, data.samples());
  return make_trainer(task, options);
}

double median_step(nn::Trainer& trainer, std::shared_ptr<const BatchSource> data, double lr) {
  const std::int64_t batch = trainer.options().batch;
  std::vector<double> seconds;
  const auto run = [&](std::int64_t steps) {
    auto last = Clock::now();
    nn::Position position;
    trainer.train_epoch(
        FullBatches(data, batch, steps), position, [&](double) { return lr; },
        [&](const nn::StepReport&) {
          const auto now = Clock::now();
          seconds.push_back(std::chrono::duration<double>(now - last).count());
          last = now;
        });
  };
  run(kWarmUp);  // compiles
  const double once = seconds.back();
  seconds.clear();
  run(std::clamp(static_cast<std::int64_t>(kSeconds / once), kLeast, kMost));
  return median(seconds);
}

}  // namespace

double method_step_seconds(const Task& task, const State& weights, const CompressRecipe& recipe,
                           const std::string& name, const std::string& codebook,
                           std::int64_t group_rows) {
  const auto method = recipe.method(name);
  if (method->epochs() == 0) return 0;
  const auto data = training_data(task, kSeed, recipe.augment);
  nn::Trainer trainer = trainer_of(task, *data, recipe.trainer(kSeed));
  nn::set_weights(trainer, weights);
  const auto plan = quant::plan_compression(trainer.parameters(), trainer.state(),
                                            recipe.policy(codebook, group_rows));
  method->set_data(*data);
  method->begin(trainer, plan, false);
  method->before_epoch(trainer, 0);
  return median_step(trainer, data, method->learning_rate(0));
}

double reference_step_seconds(const Task& task, const TrainRecipe& recipe) {
  const auto data = training_data(task, kSeed, recipe.augment);
  nn::Trainer trainer = trainer_of(task, *data, recipe.trainer(kSeed));
  return median_step(trainer, data, recipe.schedule()(0));
}

std::int64_t steps_per_epoch(const Task& task, std::int64_t batch) {
  return (training_data(task, kSeed, "none")->samples() + batch - 1) / batch;
}

}  // namespace tessera::experiment
