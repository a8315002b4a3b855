#include "apps/tessera/dense_model.h"

#include "core/error.h"
#include "core/op_def.h"
#include "ops/load.h"
#include "quant/pack/decoded.h"

namespace tessera::apps {

DenseModel load_dense(const std::string& file) {
  DenseModel out{.model = load(file), .parameters = {}};
  for (const Node& node : out.model.graph.nodes())
    out.was_coded |= node.types()[0].encoding.codebook_format() != nullptr;
  if (out.was_coded) out.model = quant::decoded(out.model);
  for (const Node& node : out.model.graph.nodes()) {
    if (&node.op() == &kParam && node.types()[0].dtype == DType::f32)
      out.parameters.push_back({node.name(), node.types()[0], nn::Init::constant(0)});
  }
  check(!out.parameters.empty(), file, ": has no parameters to compress");
  return out;
}

std::vector<float> DenseModel::weights(const std::string& name) const {
  const auto values = model.state.get(name).span<float>();
  return {values.begin(), values.end()};
}

}  // namespace tessera::apps
