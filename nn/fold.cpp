#include "nn/fold.h"

#include <cmath>
#include <map>

#include "ops/op_list.h"

namespace tessera::nn {

namespace {

// Scaling the weight must change nothing but the input of the batch-norm.
void require_only_reader(const Graph& graph, const FoldedNorm& folded) {
  const Node* weight = graph.find_leaf(folded.weight);
  std::map<const Node*, int> readers;
  const Node* convolution = nullptr;
  for (const Node& node : graph.nodes()) {
    for (const Value input : node.inputs()) {
      if (!input) continue;
      ++readers[input.node];
      if (input.node == weight) convolution = &node;
    }
  }
  check(readers[weight] == 1 && readers[convolution] == 1, "the batch-norm '", folded.norm,
        "' cannot be folded into '", folded.weight,
        "': the convolution or its weight is used elsewhere, too");
}

void fold(const FoldedNorm& folded, const State& from, State& to) {
  const auto values = [&](const char* name) { return from.get(folded.norm + name).span<float>(); };
  const auto gamma = values(".weight"), beta = values(".bias"), mean = values(".running_mean"),
             variance = values(".running_var");
  Tensor weight = from.get(folded.weight).clone();
  Tensor bias(DType::f32, {static_cast<std::int64_t>(beta.size())});
  auto w = weight.span<float>();
  const std::size_t row = w.size() / beta.size();
  for (std::size_t c = 0; c < beta.size(); ++c) {
    const double s = gamma[c] / std::sqrt(static_cast<double>(variance[c]) + folded.epsilon);
    for (std::size_t i = c * row; i < (c + 1) * row; ++i) w[i] = static_cast<float>(w[i] * s);
    bias.span<float>()[c] = static_cast<float>(beta[c] - mean[c] * s);
  }
  to.set(folded.weight, std::move(weight));
  to.set(folded.norm + ".bias", std::move(bias));
}

}  // namespace

Value Folded::forward(Scope& scope, Value x) const {
  const bool before = scope.folding();
  scope.set_folding(true);
  const Value y = network_->forward(scope, x);
  scope.set_folding(before);
  return y;
}

Model fold_batch_norm(std::shared_ptr<const Module> network, const Shape& sample,
                      const State& weights) {
  Model out{Graph(ops::standard_ops()), {}, {}};
  Scope scope(out.graph);
  Shape shape{kBatch};
  for (const Dim d : sample.dims()) shape.push_back(d);
  const Value x = out.graph.input("x", {DType::f32, shape, {}});
  out.graph.set_output("logits", Folded(std::move(network)).forward(scope, x));
  for (const auto* specs : {&scope.parameters(), &scope.states()}) {
    for (const auto& p : *specs) out.state.set(p.name, weights.get(p.name).clone());
  }
  for (const FoldedNorm& folded : scope.folded()) {
    require_only_reader(out.graph, folded);
    fold(folded, weights, out.state);
  }
  return out;
}

}  // namespace tessera::nn
