// The packed run of a model against its decoded reference, layer by layer.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/compile.h"
#include "core/interpret.h"
#include "core/model.h"

namespace tessera::quant {

struct PackedDifference {
  std::string name;  // the output, or op and weight of a layer
  std::string type;
  double max_difference = 0;  // largest |packed - reference|; infinity when only one is NaN
  double max_reference = 0;   // largest |reference|
};

struct PackedCheck {
  std::vector<PackedDifference> layers;   // every result computed from codebook storage
  std::vector<PackedDifference> outputs;  // floating-point outputs of the model
  std::vector<std::string> decoded;       // whole-tensor decodes of the packed plan

  double worst() const;  // over layers and outputs
};

struct PackedCheckOptions {
  std::int64_t batch = 1;
  int threads = 0;
  bool packed_only = false;
  std::map<std::string, Tensor> inputs = {};  // by name, at that batch; the others are random:
  std::uint64_t seed = 1;                     // f32 uniform in [-1, 1), integers 0
  double max_operations = 0;                  // of the reference, where the limit below is less
};

// What the reference of a model that a file gave may take: a thousand operations for each weight
// (of ResNet-50 at 224 x 224 it takes 330) and 10^9 more for every sample, and the memory that the
// rule gives. No limits for a model that was built here (Graph::source).
InterpretLimits reference_limits(const Model& model, const PackedCheckOptions& options = {});

// The reference is the same graph with every codebook decoded to dense f32, run by the f64
// interpreter. Outputs are those of the plan that serves; layers come from a plan that also gives
// their results out. Throws Error for a graph that updates state, and for inputs that are not of
// the model.
PackedCheck verify(const Model& model, const PackedCheckOptions& options = {});

// How far a layer that is computed from codebooks is from its exact result.
struct LayerSnr {
  std::string name;
  double signal = 0, error = 0;  // sums of squares
  double db() const;             // 10 log10 of signal to error; infinity without error
};

// The layers of a plan that rounds (CompileOptions::int8) against those of the same graph without,
// both on the same inputs: what a layer gets from the layers before it is rounded, too.
class LayerNoise {
 public:
  // Throws Error for a graph that updates state.
  LayerNoise(const Model& model, CompileOptions options);
  // Adds a batch, options.batch samples of every input of the model; other tensors are not read.
  void add(const std::map<std::string, Tensor>& inputs);
  const std::vector<LayerSnr>& layers() const { return layers_; }

 private:
  std::vector<LayerSnr> layers_;
  std::vector<std::string> inputs_;
  std::optional<Plan> exact_, rounded_;
};

}  // namespace tessera::quant
