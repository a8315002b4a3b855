// How long training will take, before it begins.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiment/recipe.h"
#include "experiment/task.h"

namespace tessera::experiment {

// What one rank of several sends in a step, and the share of its time that it waits for others.
struct StepTraffic {
  std::int64_t bytes = 0, messages = 0;
  double wait_share = 0;
};

// Times of whole training steps, data included, on full batches of a source.
class StepTimer {
 public:
  // Warms up. The trainer outlives it.
  StepTimer(nn::Trainer& trainer, std::shared_ptr<const BatchSource> data, double lr);
  // A round of so many steps; the one before them, which shuffles, is not counted. Throws
  // Interrupted.
  void run(std::int64_t steps);
  void forget() {
    rounds_.clear();
    seconds_ = 0;
    sent_ = {};
    steps_ = 0;
  }
  StepTraffic traffic() const;  // of all rounds
  // Milliseconds of each step of each round.
  const std::vector<std::vector<double>>& rounds() const { return rounds_; }

 private:
  nn::Trainer& trainer_;
  std::shared_ptr<const BatchSource> data_;
  double lr_;
  nn::Position position_;
  std::vector<std::vector<double>> rounds_;
  double seconds_ = 0;
  Traffic sent_;
  std::int64_t steps_ = 0;
};

// Median seconds of some training steps of a method at its start, after a warm-up; 0 for one that
// does not train. What comes between epochs is not in it. Throws Error for what cannot work.
double method_step_seconds(const Task& task, const State& weights, const CompressRecipe& recipe,
                           const std::string& method, const std::string& codebook,
                           std::int64_t group_rows);

// The same of the reference's training.
double reference_step_seconds(const Task& task, const TrainRecipe& recipe);

// Steps of one epoch.
std::int64_t steps_per_epoch(const Task& task, std::int64_t batch);

}  // namespace tessera::experiment
