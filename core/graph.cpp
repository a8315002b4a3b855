#include "core/graph.h"

#include <algorithm>
#include <functional>

#include "core/op_def.h"
#include "core/text.h"

namespace tessera {

namespace {

std::size_t mix(std::size_t seed, std::size_t value) {
  return seed ^ (value + 0x9e3779b97f4a7c15ull + (seed << 6) + (seed >> 2));
}

// What an op computes from its attributes cannot overflow once they are small. Names of random
// streams are any 64 bits.
void check_attr(const OpDef& op, const AttrDef& def, const AttrValue& value) {
  if (kind_of(value) != def.kind) {
    fail("[", op.name, "] attribute '", def.name, "' must be ", tessera::name(def.kind), ", got ",
         tessera::name(kind_of(value)));
  }
  const auto small = [&](std::int64_t n) {
    check(n >= -kMaxDim && n <= kMaxDim, "[", op.name, "] attribute '", def.name,
          "' is out of range: ", n);
  };
  if (const auto* n = std::get_if<std::int64_t>(&value); n != nullptr && !op.has(kRandom))
    small(*n);
  if (const auto* list = std::get_if<Ints>(&value))
    std::for_each(list->begin(), list->end(), small);
  if (const auto* shape = std::get_if<Shape>(&value)) check_size(*shape);
}

std::size_t hash_of(const OpDef& op, std::span<const Value> inputs, const Attrs& attrs) {
  std::size_t hash = std::hash<const void*>()(&op);
  for (const Value v : inputs) {
    hash =
        mix(hash,
            v ? static_cast<std::size_t>(v.node->id()) * 8u + static_cast<unsigned>(v.index) : ~0u);
  }
  return mix(hash, attrs.hash());
}

}  // namespace

const TensorType& Value::type() const {
  TESSERA_ASSERT(node != nullptr);
  return node->types()[static_cast<std::size_t>(index)];
}

Graph& Value::graph() const {
  TESSERA_ASSERT(node != nullptr);
  return node->graph();
}

Graph::Graph(const OpSet& ops) : ops_(&ops) {}
Graph::~Graph() = default;

Graph::Graph(Graph&& other) noexcept : ops_(other.ops_) {
  *this = std::move(other);
}

Graph& Graph::operator=(Graph&& other) noexcept {
  ops_ = other.ops_;
  nodes_ = std::move(other.nodes_);
  interned_ = std::move(other.interned_);
  leaves_ = std::move(other.leaves_);
  outputs_ = std::move(other.outputs_);
  updates_ = std::move(other.updates_);
  output_places_ = std::move(other.output_places_);
  updated_ = std::move(other.updated_);
  source_ = std::move(other.source_);
  for (Node& node : nodes_) node.graph_ = this;
  return *this;
}

Value Graph::leaf(const OpDef& op, std::string_view name, const TensorType& type) {
  check(!name.empty(), "[", op.name, "] needs a name");
  check_size(type.shape);
  if (const auto found = leaves_.find(name); found != leaves_.end()) {
    const Node& node = *found->second;
    check(node.op_ == &op && node.types_[0] == type, "[", op.name, "] ", Quoted{name},
          " is already a ", node.op_->name, " of type ", node.types_[0].text(), ", got ", op.name,
          " of type ", type.text());
    return node.output();
  }
  Node& node = nodes_.emplace_back();
  node.op_ = &op;
  node.types_ = {type};
  node.name_ = name;
  node.id_ = static_cast<int>(nodes_.size()) - 1;
  node.graph_ = this;
  leaves_.emplace(std::string(name), &node);
  return node.output();
}

Value Graph::input(std::string_view name, const TensorType& type) {
  return leaf(kInput, name, type);
}
Value Graph::param(std::string_view name, const TensorType& type) {
  return leaf(kParam, name, type);
}
Value Graph::state(std::string_view name, const TensorType& type) {
  return leaf(kState, name, type);
}

Value Graph::constant(double value, const TensorType& type) {
  return add(kConstant, {}, {{"value", value}, {"shape", type.shape}, {"dtype", type.dtype}})
      .output();
}

const Node& Graph::add(const OpDef& op, std::vector<Value> inputs, Attrs attrs, std::string name) {
  const bool variadic = !op.inputs.empty() && op.inputs.back().variadic;
  const auto bad = [&](const auto&... message) { fail("[", op.name, "] ", message...); };
  if (!variadic && inputs.size() > op.inputs.size()) {
    bad("takes ", op.inputs.size(), " inputs, got ", inputs.size());
  }
  const std::size_t slots =
      variadic ? std::max(inputs.size(), op.inputs.size() - 1) : op.inputs.size();
  inputs.resize(slots);
  std::vector<TensorType> types(slots);
  std::vector<char> flags(slots);
  for (std::size_t i = 0; i < slots; ++i) {
    const InputDef& def = op.input_def(i);
    if (!inputs[i]) {
      if (!def.optional) bad("input '", def.name, "' is missing");
      continue;
    }
    if (&inputs[i].graph() != this) bad("input '", def.name, "' belongs to another graph");
    types[i] = inputs[i].type();
    flags[i] = 1;
  }
  Attrs full;
  for (const AttrDef& def : op.attrs) {
    const AttrValue* value = attrs.find(def.name);
    if (value == nullptr && def.fallback) value = &*def.fallback;
    if (value == nullptr) bad("attribute '", def.name, "' is missing");
    check_attr(op, def, *value);
    full.set(def.name, *value);
  }
  for (const auto& item : attrs.items()) {
    if (full.find(item.first) == nullptr) bad("has no attribute '", item.first, "'");
  }

  const std::size_t hash = hash_of(op, inputs, full);
  for (auto [at, end] = interned_.equal_range(hash); at != end; ++at) {
    const Node& node = *at->second;
    if (node.op_ == &op && node.inputs_ == inputs && node.attrs_ == full) return node;
  }
  TESSERA_ASSERT(op.infer != nullptr);
  static_assert(sizeof(bool) == sizeof(char));
  const std::span<const bool> present(reinterpret_cast<const bool*>(flags.data()), slots);
  std::vector<TensorType> outputs = op.infer({*ops_, op, types, present, full});
  for (const TensorType& type : outputs) check_size(type.shape);
  Node& node = nodes_.emplace_back();
  node.op_ = &op;
  node.inputs_ = std::move(inputs);
  node.attrs_ = std::move(full);
  node.types_ = std::move(outputs);
  node.name_ = std::move(name);
  node.id_ = static_cast<int>(nodes_.size()) - 1;
  node.graph_ = this;
  interned_.emplace(hash, &node);
  return node;
}

void Graph::set_output(std::string_view name, Value value) {
  check(value && &value.graph() == this, "output ", Quoted{name}, " is not a value of this graph");
  const auto [found, added] = output_places_.try_emplace(std::string(name), outputs_.size());
  if (added) {
    outputs_.emplace_back(name, value);
  } else {
    outputs_[found->second].second = value;
  }
}

Value Graph::output(std::string_view name) const {
  if (const auto found = output_places_.find(name); found != output_places_.end())
    return outputs_[found->second].second;
  std::string known;
  for (const auto& output : outputs_)
    known += (known.empty() ? "" : ", ") + printable(output.first);
  fail("the graph has no output ", Quoted{name}, "; it has: ", known.empty() ? "none" : known);
}

void Graph::set_update(Value state, Value value) {
  check(state && (state.node->op_ == &kParam || state.node->op_ == &kState),
        "only a param or a state can be updated");
  const std::string& name = state.node->name();
  check(value && &value.graph() == this, "the update of ", Quoted{name},
        " is not a value of this graph");
  check(value.type() == state.type(), "the update of ", Quoted{name}, " has type ",
        value.type().text(), ", expected ", state.type().text());
  check(updated_.insert(state.node).second, Quoted{name}, " is updated twice");
  updates_.emplace_back(state, value);
}

namespace {

template <class Wanted>
std::vector<const Node*> select(const std::deque<Node>& nodes, Wanted&& wanted) {
  std::vector<const Node*> out;
  for (const Node& node : nodes) {
    if (wanted(&node.op())) out.push_back(&node);
  }
  return out;
}

}  // namespace

std::vector<const Node*> Graph::inputs() const {
  return select(nodes_, [](const OpDef* op) { return op == &kInput; });
}
std::vector<const Node*> Graph::parameters() const {
  return select(nodes_, [](const OpDef* op) { return op == &kParam; });
}
std::vector<const Node*> Graph::states() const {
  return select(nodes_, [](const OpDef* op) { return op == &kParam || op == &kState; });
}

const Node* Graph::find_leaf(std::string_view name) const {
  const auto found = leaves_.find(name);
  return found == leaves_.end() ? nullptr : found->second;
}

std::vector<bool> live_nodes(const Graph& graph) {
  std::vector<bool> live(graph.nodes().size());
  const auto mark = [&](Value v) { live[static_cast<std::size_t>(v.node->id())] = true; };
  for (const auto& output : graph.outputs()) mark(output.second);
  for (const auto& [state, value] : graph.updates()) {
    mark(state);
    mark(value);
  }
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    if (!live[static_cast<std::size_t>(node->id())]) continue;
    for (const Value v : node->inputs()) {
      if (v) mark(v);
    }
  }
  return live;
}

Value GraphMap::operator[](Value old) const {
  if (!old) return {};
  const auto& values = values_[static_cast<std::size_t>(old.node->id())];
  TESSERA_ASSERT(static_cast<std::size_t>(old.index) < values.size());
  return values[static_cast<std::size_t>(old.index)];
}

std::vector<Value> copy_node(Graph& to, const Node& node, std::vector<Value> inputs) {
  const OpDef* op = &node.op();
  if (op == &kInput) return {to.input(node.name(), node.types()[0])};
  if (op == &kParam) return {to.param(node.name(), node.types()[0])};
  if (op == &kState) return {to.state(node.name(), node.types()[0])};
  const Node& copy = to.add(*op, std::move(inputs), node.attrs(), node.name());
  std::vector<Value> out;
  for (int i = 0; i < static_cast<int>(copy.types().size()); ++i) out.push_back(copy.output(i));
  return out;
}

void copy_roots(Graph& to, const Graph& from, const GraphMap& map) {
  for (const auto& [name, value] : from.outputs()) to.set_output(name, map[value]);
  for (const auto& [state, value] : from.updates()) to.set_update(map[state], map[value]);
}

std::string next_name(std::string_view name) {
  return cat(name, ".next");
}

std::vector<const Node*> carried_inputs(const Graph& graph) {
  std::map<std::string_view, TensorType> given;
  for (const auto& [name, value] : graph.outputs()) given.emplace(name, value.type());
  std::vector<const Node*> out;
  for (const Node* node : graph.inputs()) {
    const auto found = given.find(next_name(node->name()));
    if (found != given.end() && found->second == node->types()[0]) out.push_back(node);
  }
  return out;
}

Graph clone(const Graph& graph) {
  return transform(graph, [](Graph& to, const Node& node, std::vector<Value> inputs) {
    return copy_node(to, node, std::move(inputs));
  });
}

Graph specialize(const Graph& graph, std::int64_t batch) {
  check(batch >= 1, "batch must be at least 1, got ", batch);
  return transform(graph, [&](Graph& to, const Node& node, std::vector<Value> inputs) {
    if (node.op().has(kLeaf) && &node.op() != &kConstant) {
      const TensorType type = node.types()[0].bind(batch);
      if (&node.op() == &kInput) return std::vector<Value>{to.input(node.name(), type)};
      if (&node.op() == &kParam) return std::vector<Value>{to.param(node.name(), type)};
      return std::vector<Value>{to.state(node.name(), type)};
    }
    const Node& copy = to.add(node.op(), std::move(inputs), node.attrs().bind(batch), node.name());
    std::vector<Value> out;
    for (int i = 0; i < static_cast<int>(copy.types().size()); ++i) out.push_back(copy.output(i));
    return out;
  });
}

}  // namespace tessera
