// Which machines, and which commands on them, figures come from.
#pragma once

#include <string>
#include <vector>

#include "experiment/machine.h"

namespace tessera::experiment {

// A machine (Machine::text()) and the commands that ran on it.
struct MachineCommands {
  std::string machine;
  std::vector<std::string> commands;
};
// Each machine once, with each of its commands once, as they come.
std::vector<MachineCommands> by_machine(const std::vector<Machine>& all);

// For people: each machine once, in lines of at most `columns` (0: one line), with the commands
// that ran on it, whole, to be copied.
std::string machines_text(const std::vector<Machine>& all, int columns);

}  // namespace tessera::experiment
