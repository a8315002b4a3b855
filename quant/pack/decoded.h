// Models without codebooks: what other programs read, and what packed models are compared with.
#pragma once

#include "core/model.h"

namespace tessera::quant {

// The same network with every codebook weight as a dense parameter ("fc1.weight"), decoded.
Model decoded(const Model& model);

}  // namespace tessera::quant
