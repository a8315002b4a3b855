// Fisher-weighted codebooks: entries go where the loss feels them.
// Source: Kim et al., "SqueezeLLM: Dense-and-Sparse Quantization", arXiv 2306.07629, section 4.1
// (sensitivity-based non-uniform quantization).
#pragma once

#include "quant/method/method.h"

namespace tessera::quant {

// Exact k-means weighted by the Fisher information of the trained network. Fixed and scaled
// codebooks get the best weighted scale in the same way.
PostTraining fisher_compression(std::int64_t samples = 256);

}  // namespace tessera::quant
