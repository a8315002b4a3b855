#include "quant/pack/packed_check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/interpret.h"
#include "core/memory_rule.h"
#include "core/op_def.h"
#include "core/rng.h"
#include "core/select.h"
#include "ops/codebook/codebook.h"
#include "ops/sparse/sparse.h"
#include "quant/pack/codebook_tensor.h"

namespace tessera::quant {

namespace {

RefTensor reference(const Tensor& tensor) {
  RefTensor out{{tensor.dtype(), tensor.shape(), {}}, {}};
  out.v.reserve(static_cast<std::size_t>(tensor.numel()));
  for (std::int64_t i = 0; i < tensor.numel(); ++i) out.v.push_back(element(tensor, i));
  return out;
}

// What the caller gave, and random values for the others.
std::map<std::string, Tensor> inputs_of(const Graph& graph, const PackedCheckOptions& options) {
  std::map<std::string, Tensor> out = options.inputs;
  for (const Node* node : graph.inputs()) {
    const TensorType& type = node->types()[0];
    if (const auto given = out.find(node->name()); given != out.end()) {
      const Tensor& tensor = given->second;
      check(tensor.defined() && tensor.dtype() == type.dtype && tensor.shape() == type.shape,
            "input '", node->name(), "' is ", tensor.defined() ? tensor.text_type() : "undefined",
            ", the model needs ", type.text());
      continue;
    }
    Tensor tensor(type.dtype, type.shape);
    Rng rng(options.seed, stable_id(node->name()));
    if (type.dtype == DType::f32) {
      for (float& value : tensor.span<float>()) value = rng.uniform(-1.0f, 1.0f);
    }
    out.emplace(node->name(), std::move(tensor));
  }
  for (const auto& [name, tensor] : options.inputs) {
    const auto& known = graph.inputs();
    check(std::any_of(known.begin(), known.end(),
                      [&](const Node* node) { return node->name() == name; }),
          "the model has no input '", name, "'");
  }
  return out;
}

// The same graph with a dense param for every codebook; its values join `leaves`.
Graph decode_all(const Graph& graph, RefMap& leaves, GraphMap& map, const InterpretLimits& limits) {
  return transform(
      graph,
      [&](Graph& to, const Node& node, std::vector<Value> inputs) -> std::vector<Value> {
        if (&node.op() != &kCodebook) return copy_node(to, node, std::move(inputs));
        const std::string name = cat("decoded %", node.id());
        RefTensor values = interpret(graph, leaves, {node.output()}, limits)[0];
        for (double& value : values.v) value = static_cast<float>(value);
        values.type = node.types()[0].dense();
        const Value out = to.param(name, values.type);
        leaves[name] = std::move(values);
        return {out};
      },
      &map);
}

std::string weight_name(Value weight) {
  if (const CorrectedWeight corrected = corrected_weight(*weight.node))
    weight = corrected.codebook->output();
  return CodebookTensor::weight_name(codebook_node(weight).input(0).node->name());
}

struct Layer {
  std::string name;
  Value value;
};

bool is_packed(Value v) {
  return v && (v.type().encoding.is_codebook() || corrected_weight(*v.node));
}

// What is computed straight from codebook storage, corrected or not.
std::vector<Layer> layers_of(const Graph& graph) {
  std::vector<Layer> out;
  const std::vector<bool> live = live_nodes(graph);
  for (const Node& node : graph.nodes()) {
    if (!live[static_cast<std::size_t>(node.id())] || node.op().has(kStorage)) continue;
    if (corrected_weight(node)) continue;  // the weight itself
    std::string weights;
    for (const Value v : node.inputs()) {
      if (is_packed(v)) weights += " " + weight_name(v);
    }
    if (weights.empty()) continue;
    for (int i = 0; i < static_cast<int>(node.types().size()); ++i) {
      if (!is_floating(node.types()[static_cast<std::size_t>(i)].dtype)) continue;
      out.push_back({cat(node.op().name, weights, i ? cat(".", i) : ""), node.output(i)});
    }
  }
  return out;
}

std::string layer_name(std::size_t i) {
  return cat("layer ", i);
}

// A copy of the graph that gives the layers out, too.
Graph with_layers(const Graph& graph, const std::vector<Layer>& layers) {
  GraphMap map(graph);
  Graph out = transform(
      graph,
      [](Graph& to, const Node& node, std::vector<Value> in) {
        return copy_node(to, node, std::move(in));
      },
      &map);
  for (std::size_t i = 0; i < layers.size(); ++i)
    out.set_output(layer_name(i), map[layers[i].value]);
  return out;
}

PackedDifference compare(const std::string& name, const Tensor& packed, const RefTensor& expected) {
  PackedDifference out{name, expected.type.text()};
  for (std::int64_t i = 0; i < packed.numel(); ++i) {
    const double a = element(packed, i), b = expected.v[static_cast<std::size_t>(i)];
    if (std::isnan(a) && std::isnan(b)) continue;
    double difference = a == b ? 0 : std::abs(a - b);
    if (std::isnan(difference)) difference = std::numeric_limits<double>::infinity();
    out.max_difference = std::max(out.max_difference, difference);
    out.max_reference = std::max(out.max_reference, std::abs(b));
  }
  return out;
}

}  // namespace

InterpretLimits reference_limits(const Model& model, const PackedCheckOptions& options) {
  InterpretLimits out;
  if (model.graph.source().empty()) return out;  // built here
  double weights = 0;
  std::int64_t stored = 0;
  for (const Node& node : model.graph.nodes()) {
    const bool leaf = node.op().has(kLeaf) && model.state.has(node.name());
    if (leaf) stored += model.state.get(node.name()).bytes();
    if (leaf || &node.op() == &kCodebook)
      weights += static_cast<double>(node.types()[0].shape.numel());
  }
  constexpr double kUses = 1000, kSpare = 1e9;
  out.operations = std::max(options.max_operations,
                            static_cast<double>(options.batch) * (kSpare + kUses * weights));
  out.elements = static_cast<double>(memory_limit(stored, options.batch)) / sizeof(double);
  return out;
}

double PackedCheck::worst() const {
  double out = 0;
  for (const auto& list : {layers, outputs}) {
    for (const auto& item : list) out = std::max(out, item.max_difference);
  }
  return out;
}

PackedCheck verify(const Model& model, const PackedCheckOptions& options) {
  check(model.graph.updates().empty(),
        "the graph updates state; only an inference graph can be "
        "compared with its reference");
  const Graph graph = specialize(model.graph, options.batch);
  const CompileOptions compile_options{
      .batch = options.batch, .threads = options.threads, .packed_only = options.packed_only};
  const Plan plan = compile(model, compile_options);  // refuses what would take too much memory
  const auto inputs = inputs_of(graph, options);

  const InterpretLimits limits = reference_limits(model, options);
  RefMap leaves;
  for (const auto& [name, tensor] : inputs) leaves[name] = reference(tensor);
  for (const Node* node : graph.states()) {
    leaves[node->name()] = reference(model.state.get(node->name()));
  }
  GraphMap to_decoded(graph);
  const Graph decoded = decode_all(graph, leaves, to_decoded, limits);
  const std::vector<Layer> layers = layers_of(graph);
  const Graph packed = with_layers(graph, layers);
  std::vector<Value> wanted;
  for (const Layer& layer : layers) wanted.push_back(to_decoded[layer.value]);
  for (const auto& output : graph.outputs()) wanted.push_back(to_decoded[output.second]);
  const std::vector<RefTensor> expected = interpret(decoded, leaves, wanted, limits);

  PackedCheck out;
  const auto results = compile(packed, model.state, compile_options).run(inputs);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    out.layers.push_back(compare(layers[i].name, results.at(layer_name(i)), expected[i]));
  }
  const auto served = plan.run(inputs);
  std::size_t i = layers.size();
  for (const auto& output : graph.outputs()) {
    const RefTensor& value = expected[i++];
    if (!is_floating(output.second.type().dtype)) continue;
    out.outputs.push_back(compare(output.first, served.at(output.first), value));
  }
  out.decoded = plan.decoded();
  return out;
}

double LayerSnr::db() const {
  return error > 0 ? 10 * std::log10(signal / error) : std::numeric_limits<double>::infinity();
}

LayerNoise::LayerNoise(const Model& model, CompileOptions options) {
  check(model.graph.updates().empty(), "the graph updates state; only inference can be compared");
  const Graph graph = specialize(model.graph, options.batch);
  std::vector<Layer> layers = layers_of(graph);
  // What is made of weights alone, their squares, is no layer.
  FixedNodes fixed(graph);
  std::erase_if(layers, [&](const Layer& layer) { return fixed(*layer.value.node); });
  const Graph whole = with_layers(graph, layers);
  rounded_.emplace(compile(whole, model.state, options));
  options.int8 = options.bf16 = false;
  exact_.emplace(compile(whole, model.state, options));
  for (const Layer& layer : layers) layers_.push_back({layer.name});
  for (const Node* node : graph.inputs()) inputs_.emplace_back(node->name());
}

void LayerNoise::add(const std::map<std::string, Tensor>& inputs) {
  std::map<std::string, Tensor> own;
  for (const std::string& name : inputs_)
    if (const auto at = inputs.find(name); at != inputs.end()) own.insert(*at);
  const auto exact = exact_->run(own), rounded = rounded_->run(own);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Tensor &want = exact.at(layer_name(i)), &got = rounded.at(layer_name(i));
    for (std::int64_t e = 0; e < want.numel(); ++e) {
      const double value = element(want, e), off = element(got, e) - value;
      layers_[i].signal += value * value;
      layers_[i].error += off * off;
    }
  }
}

}  // namespace tessera::quant
