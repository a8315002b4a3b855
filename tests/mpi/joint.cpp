#include "tests/mpi/joint.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nn/schedule.h"
#include "tests/mpi/thread_ranks.h"

namespace tessera::testing {

std::vector<Outcome> train(int ranks, const Make& make, const Train& train, nn::Ranks how,
                           int slow) {
  std::vector<Outcome> out(static_cast<std::size_t>(ranks));
  const auto one = [&](Communicator* communicator) {
    how.communicator = communicator;
    nn::Trainer trainer = make(nn::Ranks{communicator, how.gradients, how.bucket_bytes});
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

Train epochs(const BatchSource& data, int n, double lr) {
  return [&data, n, lr](nn::Trainer& trainer, Outcome& outcome) {
    nn::Position position;
    for (int epoch = 0; epoch < n; ++epoch) {
      trainer.train_epoch(data, position, nn::constant(lr),
                          [&](const nn::StepReport& s) { outcome.losses.push_back(s.loss); });
    }
  };
}

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

}  // namespace tessera::testing
