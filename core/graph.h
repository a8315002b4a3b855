// The IR: one graph of immutable, typed nodes for forward, backward, objectives and updates.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/attrs.h"
#include "core/encoding.h"

namespace tessera {

class Graph;
class Node;
class OpSet;
struct OpDef;

// One output of a node. A default-constructed Value is "none" (no gradient, absent optional input).
struct Value {
  const Node* node = nullptr;
  int index = 0;

  explicit operator bool() const { return node != nullptr; }
  const TensorType& type() const;
  const Shape& shape() const { return type().shape; }
  Graph& graph() const;
  friend bool operator==(const Value&, const Value&) = default;
};

// Immutable once added to a graph. Pure nodes are hash-consed: equal op, inputs and attributes are
// the same node. Leaves (input, param, state) are identified by name.
class Node {
 public:
  const OpDef& op() const { return *op_; }
  std::span<const Value> inputs() const { return inputs_; }
  Value input(int i) const { return inputs_[static_cast<std::size_t>(i)]; }
  const Attrs& attrs() const { return attrs_; }
  const std::vector<TensorType>& types() const { return types_; }
  const std::string& name() const { return name_; }
  int id() const { return id_; }  // position in topological order
  Graph& graph() const { return *graph_; }
  Value output(int i = 0) const { return {this, i}; }

 private:
  friend class Graph;
  const OpDef* op_ = nullptr;
  std::vector<Value> inputs_;
  Attrs attrs_;
  std::vector<TensorType> types_;
  std::string name_;
  int id_ = 0;
  Graph* graph_ = nullptr;
};

class Graph {
 public:
  // `ops` is the set of operators that passes, parsers and gradients may use; it must outlive the
  // graph (ops::standard_ops() lives as long as the program).
  explicit Graph(const OpSet& ops);
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  Graph(const Graph&) = delete;
  ~Graph();

  // Leaves. A second call with the same name and type returns the same value; with another type or
  // kind it throws Error. A param is trainable state; both live by name in a State.
  Value input(std::string_view name, const TensorType& type);
  Value param(std::string_view name, const TensorType& type);
  Value state(std::string_view name, const TensorType& type);
  // Every element is `value`.
  Value constant(double value, const TensorType& type = {});

  // Adds (or finds) a node. Fills attribute defaults, checks attribute kinds, infers types.
  // Throws Error with the op's name on bad input.
  const Node& add(const OpDef& op, std::vector<Value> inputs, Attrs attrs = {},
                  std::string name = {});

  // Named results, in the order they were set.
  void set_output(std::string_view name, Value value);
  const std::vector<std::pair<std::string, Value>>& outputs() const { return outputs_; }
  Value output(std::string_view name) const;  // throws Error naming the known outputs

  // `value` becomes the state's content after the step; every read sees the value before it.
  // A state is updated at most once.
  void set_update(Value state, Value value);
  const std::vector<std::pair<Value, Value>>& updates() const { return updates_; }

  const std::deque<Node>& nodes() const { return nodes_; }
  std::vector<const Node*> inputs() const;      // op input, in order of creation
  std::vector<const Node*> parameters() const;  // op param
  std::vector<const Node*> states() const;      // op param and op state
  const Node* find_leaf(std::string_view name) const;
  const OpSet& ops() const { return *ops_; }

  // The file that the graph was read from; empty: it was built here, or the file is trusted. What a
  // file's graph asks for is bounded when it is compiled (core/memory_rule.h). transform() keeps
  // it.
  const std::string& source() const { return source_; }
  void set_source(std::string file) { source_ = std::move(file); }

 private:
  Value leaf(const OpDef& op, std::string_view name, const TensorType& type);

  const OpSet* ops_;
  std::deque<Node> nodes_;
  std::unordered_multimap<std::size_t, const Node*> interned_;
  std::map<std::string, const Node*, std::less<>> leaves_;
  std::vector<std::pair<std::string, Value>> outputs_;
  std::vector<std::pair<Value, Value>> updates_;
  std::map<std::string, std::size_t, std::less<>> output_places_;
  std::set<const Node*> updated_;
  std::string source_;
};

// What is carried from one batch to the next, a recurrent network's state: inputs "NAME" for which
// the graph has an output "NAME.next" of the same type. In order of creation.
std::string next_name(std::string_view name);  // "NAME.next"
std::vector<const Node*> carried_inputs(const Graph& graph);

// Whether each node reaches an output or an update.
std::vector<bool> live_nodes(const Graph& graph);

// Copies the live part of a graph into another, node by node in topological order. `visit` gets
// each old node with its inputs already mapped and returns the new values of its outputs; nullptr
// copies the node as it is. Returns old value -> new value through `map`.
class GraphMap {
 public:
  explicit GraphMap(const Graph& from) : values_(from.nodes().size()) {}
  Value operator[](Value old) const;
  void set(const Node& old, std::vector<Value> values) {
    values_[static_cast<std::size_t>(old.id())] = std::move(values);
  }

 private:
  std::vector<std::vector<Value>> values_;
};
template <class Visit>
Graph transform(const Graph& from, Visit&& visit, GraphMap* map_out = nullptr);
std::vector<Value> copy_node(Graph& to, const Node& node, std::vector<Value> inputs);
void copy_roots(Graph& to, const Graph& from, const GraphMap& map);

template <class Visit>
Graph transform(const Graph& from, Visit&& visit, GraphMap* map_out) {
  Graph to(from.ops());
  to.set_source(from.source());
  GraphMap map(from);
  const std::vector<bool> live = live_nodes(from);
  for (const Node& node : from.nodes()) {
    if (!live[static_cast<std::size_t>(node.id())]) continue;
    std::vector<Value> inputs;
    for (const Value v : node.inputs()) inputs.push_back(v ? map[v] : Value());
    map.set(node, visit(to, node, std::move(inputs)));
  }
  copy_roots(to, from, map);
  if (map_out) *map_out = std::move(map);
  return to;
}

// A copy of the live part; `params` below `prefix` keep their names.
Graph clone(const Graph& graph);

// Binds the batch symbol: same graph with numbers for shapes. Types are inferred again.
Graph specialize(const Graph& graph, std::int64_t batch);

}  // namespace tessera
