// Trainings by several ranks against one process with the joint batch.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "nn/trainer.h"

namespace tessera::testing {

// What a training came to on each rank; one entry without ranks.
struct Outcome {
  std::vector<double> losses;  // by step, mean of the epoch so far
  State state;                 // as a checkpoint holds it
  std::string text;            // whatever else a test wants to compare
};

using Make = std::function<nn::Trainer(nn::Ranks)>;
using Train = std::function<void(nn::Trainer&, Outcome&)>;

// `slow`: of on_ranks().
std::vector<Outcome> train(int ranks, const Make& make, const Train& train, nn::Ranks how = {},
                           int slow = 0);
// So many epochs of `data`, which stays.
Train epochs(const BatchSource& data, int n, double lr = 0.05);
// All ranks end with the same bits, and as one process did. `tolerance` of losses and, relative to
// the largest element, ten times it of states.
void expect_joint(const Outcome& joint, const std::vector<Outcome>& ranks, double tolerance);

}  // namespace tessera::testing
