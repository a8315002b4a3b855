// A network of another shape (other steps of a sequence, another size of image) with the weights of
// a model, packed ones as they are.
#pragma once

#include "core/model.h"

namespace tessera::quant {

// `inference`, of the same network, with what `model` has in place of its params: dense tensors, or
// their codebooks and sparse corrections. Settings and what is attached stay those of
// the model. Throws Error for a
// param that the model has not, or of another shape.
Model reshaped(const Graph& inference, const Model& model);

}  // namespace tessera::quant
