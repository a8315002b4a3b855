#include "report/machines.h"

#include <algorithm>

#include "core/text.h"
#include "report/terminal.h"

namespace tessera::experiment {

std::vector<MachineCommands> by_machine(const std::vector<Machine>& all) {
  std::vector<MachineCommands> out;
  for (const Machine& m : all) {
    auto at =
        std::find_if(out.begin(), out.end(), [&](const auto& o) { return o.machine == m.text(); });
    if (at == out.end()) at = out.insert(out.end(), {m.text(), {}});
    auto& commands = at->commands;
    if (std::find(commands.begin(), commands.end(), m.command) == commands.end())
      commands.push_back(m.command);
  }
  return out;
}

std::string machines_text(const std::vector<Machine>& all, int columns) {
  std::string out;
  for (const auto& [machine, commands] : by_machine(all)) {
    const std::string line = "Measured on " + escaped(machine) + "\n";
    out += columns > 0 ? wrapped(line, columns) : line;
    for (const std::string& command : commands) out += "  by " + escaped(command) + "\n";
  }
  return out;
}

}  // namespace tessera::experiment
