// gramian_weights: what several losses weigh, inside a graph.
#pragma once

#include "core/op_def.h"
#include "ops/weighting/loss_weights.h"

namespace tessera {

extern const OpDef kGramianWeights;

namespace ops {

// gramian f32[k, k], inner products of the losses' gradients; preference f32[k]; order f32[k, k],
// random numbers, asked for by pcgrad alone -> f32[k] (loss_weights). k is 1 to kMostLosses.
Value gramian_weights(Value gramian, Value preference, GramianRule how, Value order = {},
                      double c = 0.5);

}  // namespace ops
}  // namespace tessera
