#include "core/rewrite.h"

#include "core/op_def.h"

namespace tessera {

bool match(const Pat& pattern, Value value, Match& result) {
  if (!value) return false;
  if (pattern.constant) {
    const auto number = constant_value(value);
    if (!number || *number != *pattern.constant) return false;
  }
  if (pattern.op != nullptr) {
    const Node& node = *value.node;
    if (&node.op() != pattern.op || value.index != 0) return false;
    if (node.inputs().size() < pattern.inputs.size()) return false;
    const auto inputs_match = [&](bool swapped) {
      Match trial = result;
      for (std::size_t i = 0; i < pattern.inputs.size(); ++i) {
        const std::size_t from = swapped && i < 2 ? 1 - i : i;
        if (!match(pattern.inputs[i], node.inputs()[from], trial)) return false;
      }
      result = trial;
      return true;
    };
    if (!inputs_match(false) &&
        !(node.op().has(kCommutative) && pattern.inputs.size() == 2 && inputs_match(true))) {
      return false;
    }
  }
  if (pattern.capture >= 0) {
    Value& slot = result.values[static_cast<std::size_t>(pattern.capture)];
    if (slot && !(slot == value)) return false;
    slot = value;
  }
  return true;
}

void RuleSet::add(std::vector<Rule> rules) {
  for (Rule& rule : rules) {
    TESSERA_ASSERT(rule.pattern.op != nullptr);
    by_root_.emplace(rule.pattern.op, rules_.size());
    rules_.push_back(std::move(rule));
  }
}

Value RuleSet::apply(Value value, std::map<std::string, int>* hits) const {
  constexpr int kLimit = 64;
  for (int step = 0;; ++step) {
    const Rule* applied = nullptr;
    for (auto [at, end] = by_root_.equal_range(&value.node->op()); at != end; ++at) {
      const Rule& rule = rules_[at->second];
      Match found;
      found.root = value.node;
      if (!match(rule.pattern, value, found)) continue;
      const Value replacement = rule.replace(found);
      if (!replacement || replacement == value) continue;
      if (!(replacement.type() == value.type())) {
        throw std::logic_error(cat("rule '", rule.name, "' changes ", value.type().text(), " to ",
                                   replacement.type().text()));
      }
      applied = &rule;
      value = replacement;
      break;
    }
    if (applied == nullptr) return value;
    if (hits) ++(*hits)[std::string(applied->name)];
    if (step == kLimit) throw std::logic_error(cat("rule '", applied->name, "' does not end"));
  }
}

}  // namespace tessera
