// Batch-norm folded into the convolution before it: in inference it is a scale and a shift per
// channel, so the weights can carry the one and a bias the other. Done before a codebook is fitted,
// no batch-norm is left beside the codebook's entries.
#pragma once

#include <memory>

#include "core/model.h"
#include "nn/module.h"

namespace tessera::nn {

// The network with a bias in place of every batch-norm that directly follows a convolution without
// bias; also in training, where nothing is normalized then. Other batch-norms stay. Parameters keep
// their names ("bn1.bias" is the bias); "bn1.weight" and the running statistics are gone.
class Folded final : public Module {
 public:
  explicit Folded(std::shared_ptr<const Module> network) : network_(std::move(network)) {}
  Value forward(Scope& scope, Value x) const override;

 private:
  std::shared_ptr<const Module> network_;
};

// Inference graph and weights of Folded(network), from the weights of `network`:
//   weight' = weight * s, bias' = bias - running_mean * s, s = gamma / sqrt(running_var + epsilon)
// per output channel. Throws Error when a convolution that would be scaled is read by something
// else, too, or a weight is missing.
Model fold_batch_norm(std::shared_ptr<const Module> network, const Shape& sample,
                      const State& weights);

}  // namespace tessera::nn
