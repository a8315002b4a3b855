#include "core/subgraph.h"

#include <vector>

namespace tessera {

Value Subgraph::operator()(Value old) {
  if (!old) return {};
  if (const auto done = copied_.find(key(old)); done != copied_.end()) return done->second;
  if (const auto other = replaced_.find(key(old)); other != replaced_.end()) {
    return copied_[key(old)] = other->second();
  }
  std::vector<Value> inputs;
  for (const Value v : old.node->inputs()) inputs.push_back((*this)(v));
  const std::vector<Value> made = copy_node(to_, *old.node, std::move(inputs));
  for (std::size_t i = 0; i < made.size(); ++i) {
    copied_.emplace(Key(old.node, static_cast<int>(i)), made[i]);
  }
  return copied_.at(key(old));
}

}  // namespace tessera
