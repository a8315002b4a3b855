// What several ranks add to a training step.
#pragma once

#include <memory>

#include "apps/verbs/bench.h"
#include "experiment/step_time.h"

namespace tessera::apps {

// As many on all ranks: what rank 0 says.
std::int64_t agreed(Session& session, std::int64_t own);
// What the ranks' own plan reads besides a batch.
void bind_rank(const Plan& plan, RunContext& context, const Session& session);

// Bytes and messages of a step, and the time of a step against that of its parts apart: the same
// step without the others, on this rank's rows alone, and gradients that travel while nothing is
// computed. Prints nothing where this process is alone.
void bench_ranks(Session& session, const Task& task, const TrainRecipe& recipe,
                 const std::shared_ptr<const BatchSource>& data, nn::Trainer& together,
                 const StepTimer& timed, std::int64_t steps, int repeat);

}  // namespace tessera::apps
