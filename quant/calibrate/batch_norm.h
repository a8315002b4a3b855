// Batch norm after hardening: quantized weights shift the statistics of every layer behind them.
#pragma once

#include <cstdint>

#include "core/batch_source.h"
#include "core/model.h"

namespace tessera::quant {

// Replaces the running mean and variance of every batch norm by those of `data` under the model's
// own weights, packed ones included. One walk: in each batch every layer is normalized by that
// batch's statistics, as in training, so the layers behind it see what they will see; the states
// become the averages over the batches of the mean and of the unbiased variance. Nothing is
// trained, dropout is off (the graph is the inference graph).
// Walks data.samples() / batch whole batches in stored order (one smaller batch where there is not
// one), so the order should mix the classes, as CalibrationSet does.
// Returns the number of batch norms. Throws Error where the model has none, or one whose statistics
// are not used as nn::BatchNorm2d uses them (naming it), and for statistics that are not finite.
std::int64_t reestimate_batch_norm(Model& model, const BatchSource& data, std::int64_t batch);

}  // namespace tessera::quant
