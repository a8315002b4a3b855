// A model: a graph, the tensors its params and states name, and the settings that made it.
#pragma once

#include <map>
#include <string>

#include "core/compile.h"
#include "core/graph.h"
#include "core/state.h"

namespace tessera {

struct Model {
  Graph graph;
  State state;
  // What made the model, as printed ("method": "lc", "seed": "1"): no times, hosts or paths, so
  // that the same run gives the same bytes.
  std::map<std::string, std::string> settings = {};
  // Texts that whoever runs it needs besides ("vocabulary"): part of its files, not of how it was
  // made.
  std::map<std::string, std::string> attached = {};
};

// A frozen plan for serving.
inline Plan compile(const Model& model, const CompileOptions& options = {}) {
  return compile(model.graph, model.state, options);
}

}  // namespace tessera
