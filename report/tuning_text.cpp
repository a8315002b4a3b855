#include "report/tuning_text.h"

#include <map>
#include <tuple>

#include "core/text.h"
#include "report/table.h"

namespace tessera::experiment {

void print_tuning(std::ostream& out, const Tuning& tuning, const std::string& file) {
  // A node is chosen for whenever its plan is compiled.
  std::map<std::tuple<std::string, std::string, std::string>, Tuning::Change> changes;
  for (const Tuning::Change& change : tuning.changes())
    changes.try_emplace({change.type, change.by_rule, change.taken}, change);
  out << "\nKernels by measurement (" << file << "): " << tuning.measured()
      << " measured now, otherwise than by rule:";
  if (changes.empty()) {
    out << " none\n";
    return;
  }
  out << "\n";
  Table table({"op", "result", "by rule", "us", "taken", "us"}, 2);
  const auto us = [](double value) { return value > 0 ? fixed(value, 1) : std::string(); };
  for (const auto& [key, change] : changes) {
    table.add({change.op, change.type.substr(0, change.type.find('@')), change.by_rule,
               us(change.rule_us), change.taken, us(change.taken_us)});
  }
  table.print(out);
}

}  // namespace tessera::experiment
