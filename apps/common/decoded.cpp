#include "apps/common/decoded.h"

#include "ops/codebook/codebook.h"

namespace tessera::apps {

namespace {

// "fc1.weight" of the codebook node that reads "fc1.weight.indices".
std::string weight_name(const Node& codebook) {
  const std::string& name = codebook.input(0).node->name();
  constexpr std::string_view suffix = ".indices";
  check(name.ends_with(suffix), "codebook indices are named '", name, "', expected NAME.indices");
  return name.substr(0, name.size() - suffix.size());
}

}  // namespace

Model decoded(const Model& model) {
  // Decodes everything with the kernels that run models, as the outputs of one small graph.
  Graph decoder(model.graph.ops());
  Model out{transform(model.graph,
                      [&](Graph& to, const Node& node, std::vector<Value> inputs) {
                        if (&node.op() != &kCodebook) return copy_node(to, node, std::move(inputs));
                        const std::string name = weight_name(node);
                        std::vector<Value> planes;
                        for (const Value plane : node.inputs()) {
                          planes.push_back(plane ? decoder.param(plane.node->name(), plane.type())
                                                 : Value());
                        }
                        const Node& copy = decoder.add(kCodebook, std::move(planes), node.attrs());
                        decoder.set_output(name, ops::decode(copy.output()));
                        return std::vector<Value>{to.param(name, node.types()[0].dense())};
                      }),
            {},
            model.settings};
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

}  // namespace tessera::apps
