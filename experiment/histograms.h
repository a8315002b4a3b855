// The distribution of a network's weights before and after compression, small enough to keep with
// every result, so that a report needs neither data nor models.
#pragma once

#include "core/files/json_io.h"
#include "core/state.h"
#include "quant/pack/harden.h"

namespace tessera::experiment {

// {"format": "tessera.histograms", "tensors": [...]} with, for each tensor that has a codebook:
// "name", "shape", "low" and "high" (of the bins, which are equally wide), "reference" and "after"
// (weights in each bin: of the reference, and the method's own continuous ones at its end), "k" and
// "groups" of the codebook, and "entries" with "counts" (weights that have each), groups one after
// another; codebooks of more than 256 entries in all groups give "decoded" instead: decoded weights
// in each bin. Weights that are not finite are counted in none.
Json weight_histograms(const State& reference, const State& after,
                       const quant::Codebooks& codebooks);

}  // namespace tessera::experiment
