#include "quant/pack/decoded.h"

#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/sparse/sparse.h"
#include "quant/pack/codebook_tensor.h"

namespace tessera::quant {

namespace {

// "fc1.weight" of the codebook node that reads "fc1.weight.indices".
std::string weight_name(const Node& codebook) {
  const std::string& indices = codebook.input(0).node->name();
  std::string name = CodebookTensor::weight_name(indices);
  check(name != indices, "codebook indices are named '", name, "', expected NAME.indices");
  return name;
}

}  // namespace

Model decoded(const Model& model) {
  std::map<const Node*, const Node*> sums;  // codebook -> the sum with its correction
  for (const Node& node : model.graph.nodes()) {
    if (const CorrectedWeight w = corrected_weight(node)) sums[w.codebook] = &node;
  }
  // Decodes everything with the kernels that run models, as the outputs of one small graph.
  Graph decoder(model.graph.ops());
  decoder.set_source(model.graph.source());
  Model out{transform(model.graph,
                      [&](Graph& to, const Node& node, std::vector<Value> inputs) {
                        if (corrected_weight(node)) {  // the codebook's param is all of it
                          const bool first = &node.input(0).node->op() == &kCodebook;
                          return std::vector<Value>{inputs[first ? 0 : 1]};
                        }
                        if (&node.op() != &kCodebook) return copy_node(to, node, std::move(inputs));
                        const std::string name = weight_name(node);
                        std::vector<Value> planes;
                        for (const Value plane : node.inputs()) {
                          planes.push_back(plane ? decoder.param(plane.node->name(), plane.type())
                                                 : Value());
                        }
                        const Node& copy = decoder.add(kCodebook, std::move(planes), node.attrs());
                        Value weight = ops::decode(copy.output());
                        if (const auto sum = sums.find(&node); sum != sums.end()) {
                          const Node& sparse = *corrected_weight(*sum->second).sparse;
                          std::vector<Value> parts;
                          for (const Value plane : sparse.inputs())
                            parts.push_back(decoder.param(plane.node->name(), plane.type()));
                          weight = weight + ops::sparse(parts[0], parts[1], weight.shape());
                        }
                        decoder.set_output(name, weight);
                        return std::vector<Value>{to.param(name, node.types()[0].dense())};
                      }),
            {},
            model.settings,
            model.attached};
  out.graph = clone(out.graph);  // the planes are no longer read
  std::map<std::string, Tensor> weights;
  if (!decoder.outputs().empty()) weights = compile(decoder, model.state, {}).run({});
  for (const Node* node : out.graph.states()) {
    const auto found = weights.find(node->name());
    out.state.set(node->name(),
                  found == weights.end() ? model.state.get(node->name()).clone() : found->second);
  }
  return out;
}

}  // namespace tessera::quant
