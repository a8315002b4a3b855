// AdaRound: which of its two neighbours in the codebook a weight becomes is learned, layer by
// layer.
// Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020
// (arXiv 2004.10568), equations 21-25; here for any sorted codebook instead of a uniform grid.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/calibrate/layers.h"
#include "quant/method/method.h"

namespace tessera::quant {

// Beta, warm-up and batch are the paper's defaults. It takes 10,000 iterations where two cores have
// time for 1000, hence the higher rate; lambda is large because errors are relative here.
struct AdaRoundOptions {
  std::int64_t samples = 256;      // of calibration data
  std::int64_t iterations = 1000;  // of Adam, for each layer
  std::int64_t batch = 32;
  double lr = 0.03;
  double regularization = 3;              // lambda, see round_layer()
  double beta_first = 20, beta_last = 2;  // annealed linearly after the warm-up
  double warmup = 0.2;                    // share of the iterations without regularization
  std::uint64_t seed = 1;                 // of the order of samples
};

// What became of one layer. Errors are mean squared differences from the output of the original
// network's layer, by the mean square of that output.
struct RoundedLayer {
  std::string name;
  double error_nearest = 0;  // every weight at its nearest entry
  double error = 0;          // as rounded; never larger
  double changed = 0;        // share of weights that are not at their nearest entry
};

// Rounds the weights of one layer to the entries of `codebook` (whose indices are the nearest
// ones) so that op(x, w~) comes close to y. x f32 [n, ...] what the layer will read, y f32
// [n, channels, ...] what it should give.
//
// Weight i moves between low_i <= w_i <= high_i, its neighbouring entries: w~ = low + (high - low)
// h, h = clip(1.2 sigmoid(V) - 0.1, 0, 1), and V minimizes by Adam
//   sum_c r_c E_c(w~) / E_c(nearest) + lambda sum_i (1 - |2 h_i - 1|^beta),
// E_c the error of output channel c, r_c its number of weights. The rows of a weight do not
// interact, so scaling E_c changes no optimum, but it makes lambda mean the same everywhere.
// At the end h is rounded, and a channel that is worse than by nearest entries takes those.
CodebookTensor round_layer(const Layer& layer, const CodebookTensor& codebook,
                           std::span<const float> weights, const Tensor& x, const Tensor& y,
                           const AdaRoundOptions& options, RoundedLayer* report = nullptr);

// Exact k-means codebooks (or whichever the plan says) whose indices are learned: layers in the
// order of the network, each on what the layers before it give once they are rounded (asymmetric
// reconstruction). `layers`, where given, is filled with what became of each.
PostTraining adaround(AdaRoundOptions options, std::vector<RoundedLayer>* layers = nullptr);

}  // namespace tessera::quant
