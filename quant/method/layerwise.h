// Codebooks that keep what each layer gives instead of its weights, layer by layer, from a few
// samples without labels and without training: gptq and lnq.
// Source: Frantar et al., "GPTQ", ICLR 2023 (arXiv 2210.17323); Kim et al., "GuidedQuant", ICML
// 2025 (arXiv 2505.07004), whose LNQ this is; here for any codebook and for convolutions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/method/method.h"

namespace tessera::quant {

struct LayerwiseOptions {
  std::int64_t samples = 1024;
  double damping = 0.01;  // OutputFit
  int rounds = 4;         // of entries and codes by turns (LNQ); 0: codes once (GPTQ)
  int passes = 4;         // of coordinate descent in each round
};

// What became of one layer: errors of its output by the output's mean square, on the samples.
struct LayerwiseLayer {
  std::string name;
  double error_nearest = 0;  // every weight at the nearest entry of the codebook it starts from
  double error = 0;
};

// Layers in the order of the network, each on what those before it give once they are coded. Starts
// from the plan's codebooks fitted to weights that count by the mean square of their inputs.
PostTraining layerwise(std::string name, LayerwiseOptions options,
                       std::vector<LayerwiseLayer>* layers = nullptr);

}  // namespace tessera::quant
