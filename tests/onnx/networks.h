// Models of every kind that the library has, with weights and statistics that are none of the
// initial ones.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/model.h"
#include "onnx/export.h"

namespace tessera::onnx {

struct NamedModel {
  std::string name;
  Model model;
};

// Those of models/zoo.h, at 64 x 64 where they are made for 224 x 224; heavy are those with more
// than some millions of weights.
enum class Weight { light, heavy };
std::vector<std::string> zoo_names(Weight weight);
Model zoo_model(const std::string& name);
Model language_model();
Model detector_model();
Model attention_model();  // products of two activations, each way round, one broadcast
// Every parameter of rank 2 and more as this codebook ("uniform:4@32").
Model packed(const Model& model, const std::string& codebook);

// Inputs of a batch: f32 in [-1, 1), integers below `below`.
std::map<std::string, Tensor> inputs_of(const Graph& graph, std::int64_t batch,
                                        std::int64_t below = 10);
// Exports, imports, and compares outputs and what is trained.
Model back(const Exported& exported, const std::string& name);
void expect_same(const std::string& name, const Model& model, const ExportOptions& options = {});
// Largest |a - b| over 1 + |b|, over all outputs; infinity where names or shapes differ.
double difference(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b);

}  // namespace tessera::onnx
