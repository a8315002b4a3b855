// A model file before compression: its weights, for verbs that say what compressing would do.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/model.h"
#include "nn/module.h"

namespace tessera::apps {

struct DenseModel {
  Model model;
  std::vector<nn::ParameterSpec> parameters;  // in the order of the graph
  bool was_coded = false;                     // the file has codebooks, decoded here

  // The weights of a parameter, as quant::fit_all() asks for them.
  std::vector<float> weights(const std::string& name) const;
};

// Throws Error for a model without f32 parameters.
DenseModel load_dense(const std::string& file);

}  // namespace tessera::apps
