// Draws from what a network predicts.
#pragma once

#include <cstdint>
#include <span>

#include "core/rng.h"

namespace tessera::nn {

// A number drawn from softmax(logits / temperature), temperature > 0; at 0 the first of the largest
// logits, without a draw. -1 where the logits are not finite. Throws Error for a negative
// temperature and for no logits.
std::int32_t draw(std::span<const float> logits, Rng& rng, double temperature = 1);

}  // namespace tessera::nn
