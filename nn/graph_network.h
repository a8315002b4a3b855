// A model file as a network: trained further and compressed without the source it was built from.
#pragma once

#include <memory>

#include "core/model.h"
#include "nn/network.h"

namespace tessera::nn {

// The graph's inputs are the network's, by name, and likewise its outputs; what it carries from
// batch to batch is carried. Its f32 params are trained from the values that the model has; its
// states, running statistics for one, stay as they are, since an inference graph does not say how
// they came about.
class GraphNetwork final : public Network {
 public:
  // Throws Error, naming the tensor, for a model that lacks one, and for params that are not f32:
  // codebook weights have to be decoded first (quant::decoded).
  explicit GraphNetwork(Model model);
  // Throws Error where inputs are missing or of another type, and where activations shall be
  // quantized: a graph does not say where its layers are.
  Values forward(Scope& scope, const Values& inputs) const override;

 private:
  std::shared_ptr<const Model> model_;
};

}  // namespace tessera::nn
