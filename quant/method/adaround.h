// AdaRound: which of its two neighbours in the codebook a weight becomes is learned, layer by
// layer.
// Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020
// (arXiv 2004.10568), equations 21-25; here for any sorted codebook instead of a uniform grid.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/calibrate/calibration.h"
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
// reconstruction).
class AdaRound final : public Method {
 public:
  explicit AdaRound(AdaRoundOptions options) : options_(options) {}
  std::string name() const override { return "adaround"; }
  std::int64_t epochs() const override { return 0; }
  double learning_rate(double) const override { return 0; }
  bool needs_data() const override { return true; }
  void require(const CompressionPlan& plan) const override;
  void set_data(const BatchSource& data) override { data_ = &data; }
  CStepReport begin(nn::Trainer& trainer, const CompressionPlan& plan, bool resuming) override;
  void before_epoch(nn::Trainer&, double) override {}
  std::optional<CStepReport> after_update(nn::Trainer&, double, double) override {
    return std::nullopt;
  }
  Codebooks codebooks(const nn::Trainer& trainer) const override;
  const std::vector<RoundedLayer>& layers() const { return layers_; }

 private:
  AdaRoundOptions options_;
  const BatchSource* data_ = nullptr;
  CompressionPlan plan_;
  std::vector<RoundedLayer> layers_;
};

}  // namespace tessera::quant
