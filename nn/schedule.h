// Scalar schedules: learning rates and penalty weights as functions of the epoch. They are inputs
// of the graph, so changing one recompiles nothing.
#pragma once

#include <functional>
#include <vector>

namespace tessera::nn {

// `epoch` counts from 0 and may be fractional.
using Schedule = std::function<double(double epoch)>;

Schedule constant(double value);
Schedule exponential(double start, double factor);  // start * factor^floor(epoch)
// start * factor^(milestones that are behind).
Schedule step_decay(double start, double factor, std::vector<double> milestones);
// The same, milestones being shares of `epochs`.
Schedule step_decay_shares(double start, double factor, const std::vector<double>& shares,
                           double epochs);
// From start to end over `epochs` by half a cosine (Loshchilov & Hutter 2017, one cycle).
Schedule cosine(double start, double end, double epochs);
// Linear from 0 over the first `warmup` epochs, then `after`.
Schedule with_warmup(double warmup, Schedule after);

// Throws Error that says what to set when there is no learning rate.
void require_schedule(const Schedule& lr);

}  // namespace tessera::nn
