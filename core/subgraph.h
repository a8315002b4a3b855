// Parts of a graph in a graph of their own.
#pragma once

#include <functional>
#include <map>
#include <utility>

#include "core/graph.h"

namespace tessera {

// Copies values and all that they need into another graph, each node once.
class Subgraph {
 public:
  explicit Subgraph(Graph& to) : to_(to) {}

  // Where `old` is read, `make()` stands instead. It is called when the first reader is copied, and
  // may copy values itself.
  void replace(Value old, std::function<Value()> make) { replaced_[key(old)] = std::move(make); }
  Value operator()(Value old);

 private:
  using Key = std::pair<const Node*, int>;
  static Key key(Value v) { return {v.node, v.index}; }

  Graph& to_;
  std::map<Key, std::function<Value()>> replaced_;
  std::map<Key, Value> copied_;
};

}  // namespace tessera
