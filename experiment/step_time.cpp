#include "experiment/step_time.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "core/interrupt.h"
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

// As many steps as fit half a second.
double median_step(nn::Trainer& trainer, std::shared_ptr<const BatchSource> data, double lr) {
  StepTimer timer(trainer, std::move(data), lr);
  timer.run(1);
  const double once = timer.rounds().back().front() / 1e3;
  timer.forget();
  timer.run(std::clamp(static_cast<std::int64_t>(kSeconds / once), kLeast, kMost));
  return median(timer.rounds().back()) / 1e3;
}

}  // namespace

StepTimer::StepTimer(nn::Trainer& trainer, std::shared_ptr<const BatchSource> data, double lr)
    : trainer_(trainer), data_(std::move(data)), lr_(lr) {
  run(kWarmUp);  // compiles
  forget();
}

void StepTimer::run(std::int64_t steps) {
  std::optional<Clock::time_point> last;
  auto& ms = rounds_.emplace_back();
  const nn::EpochReport report = trainer_.train_epoch(
      FullBatches(data_, trainer_.options().batch, steps + 1), position_,
      [this](double) { return lr_; },
      [&](const nn::StepReport&) {
        const auto now = Clock::now();
        if (last) ms.push_back(std::chrono::duration<double, std::milli>(now - *last).count());
        last = Clock::now();
      });
  stop_if_interrupted();
  seconds_ += report.seconds;
  sent_.bytes += report.sent.bytes;
  sent_.messages += report.sent.messages;
  sent_.seconds += report.sent.seconds;
  steps_ += report.steps;
}

StepTraffic StepTimer::traffic() const {
  if (steps_ == 0) return {};
  return {sent_.bytes / steps_, sent_.messages / steps_,
          seconds_ > 0 ? sent_.seconds / seconds_ : 0};
}

double method_step_seconds(const Task& task, const State& weights, const CompressRecipe& recipe,
                           const std::string& name, const std::string& codebook,
                           std::int64_t group_rows) {
  const auto method = recipe.method(name).training;
  if (method == nullptr) return 0;
  const auto data = training_data(task, kSeed, recipe.augment, recipe.batch);
  nn::Trainer trainer = trainer_of(task, *data, recipe.trainer(kSeed));
  nn::set_weights(trainer, weights);
  const auto plan = quant::plan_compression(trainer.parameters(), trainer.state(),
                                            recipe.policy(codebook, group_rows));
  quant::start_at(trainer, *data, plan, *method, 0);
  return median_step(trainer, data, method->learning_rate(0));
}

double reference_step_seconds(const Task& task, const TrainRecipe& recipe) {
  const auto data = training_data(task, kSeed, recipe.augment, recipe.batch);
  nn::Trainer trainer = trainer_of(task, *data, recipe.trainer(kSeed));
  return median_step(trainer, data, recipe.schedule()(0));
}

std::int64_t steps_per_epoch(const Task& task, std::int64_t batch) {
  return (training_data(task, kSeed, "none", batch)->samples() + batch - 1) / batch;
}

}  // namespace tessera::experiment
