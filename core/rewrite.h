// Rewrites as data: named rules of (pattern, guard, replacement), indexed by root op. The rules of
// a family live with the family; an OpSet carries them.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"

namespace tessera {

inline constexpr int kMaxCaptures = 8;

// Matches one value. `op` null matches anything; `constant` matches a constant node of that value;
// `capture` >= 0 binds the value (two uses of one number must bind the same value). Inputs of a
// commutative op are tried in both orders.
struct Pat {
  const OpDef* op = nullptr;
  std::vector<Pat> inputs = {};
  int capture = -1;
  std::optional<double> constant = {};

  static Pat any(int capture) { return {nullptr, {}, capture, {}}; }
  static Pat number(double value) { return {nullptr, {}, -1, value}; }
};

struct Match {
  const Node* root = nullptr;
  std::array<Value, kMaxCaptures> values;
  Value operator[](int i) const { return values[static_cast<std::size_t>(i)]; }
};

struct Rule {
  std::string_view name;
  Pat pattern;
  // Returns the replacement of the root's output 0, built in the root's graph and of the same type;
  // none when the rule does not apply after all.
  std::function<Value(const Match&)> replace;
};

class RuleSet {
 public:
  void add(std::vector<Rule> rules);
  const std::vector<Rule>& rules() const { return rules_; }

  // Applies rules at `value` until none fits. `hits` counts by rule name. Asserts (naming the rule)
  // when the rules do not come to an end or change the type.
  Value apply(Value value, std::map<std::string, int>* hits = nullptr) const;

 private:
  std::vector<Rule> rules_;
  std::multimap<const OpDef*, std::size_t> by_root_;
};

bool match(const Pat& pattern, Value value, Match& match);

}  // namespace tessera
