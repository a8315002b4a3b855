// Fisher-weighted codebooks: entries go where the loss feels them.
// Source: Kim et al., "SqueezeLLM: Dense-and-Sparse Quantization", arXiv 2306.07629, section 4.1
// (sensitivity-based non-uniform quantization).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "quant/calibrate/calibration.h"
#include "quant/method/method.h"

namespace tessera::quant {

// Importance of every weight, by parameter, in the weight's order.
using Importance = std::map<std::string, std::vector<float>>;

// Diagonal of the empirical Fisher information: mean over the samples of (d loss / d w)^2, the loss
// being the task's on one sample. Near a minimum it stands for the diagonal
// of the Hessian, so that quantizing w to q costs about 1/2 sum h (w - q)^2.
// `inference`: the network on the task's inputs, with all its outputs; batch norm by running
// statistics. One forward and one backward pass a sample. Throws Error for a name the graph does
// not have, and for a gradient that is not finite (naming the parameter).
Importance fisher_information(const Graph& inference, const nn::Task& task, const State& state,
                              const std::vector<std::string>& names, const BatchSource& samples);

// Exact k-means weighted by the Fisher information of the trained network; no training. Fixed and
// scaled codebooks get the best weighted scale in the same way.
class FisherCompression final : public Method {
 public:
  explicit FisherCompression(std::int64_t samples = 256) : samples_(samples) {}
  std::string name() const override { return "fisher"; }
  std::int64_t epochs() const override { return 0; }
  double learning_rate(double) const override { return 0; }
  bool needs_data() const override { return true; }
  void require(const CompressionPlan& plan) const override { plan.require_plain(name()); }
  void set_data(const BatchSource& data) override { data_ = &data; }
  CStepReport begin(nn::Trainer& trainer, const CompressionPlan& plan, bool resuming) override;
  void before_epoch(nn::Trainer&, double) override {}
  std::optional<CStepReport> after_update(nn::Trainer&, double, double) override {
    return std::nullopt;
  }
  Codebooks codebooks(const nn::Trainer& trainer) const override;

 private:
  std::int64_t samples_;
  const BatchSource* data_ = nullptr;
  CompressionPlan plan_;
};

}  // namespace tessera::quant
