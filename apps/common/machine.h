// What figures were measured on, and by which command: without it no time means anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/files/json_io.h"

namespace tessera::apps {

struct Machine {
  std::string cpu;           // "AMD EPYC 9B45"
  std::int64_t cores = 0;    // logical processors that this process may use
  std::int64_t threads = 0;  // that the library used
  std::string features;      // instruction sets: "avx2+avx512"
  std::string version;       // of this library
  std::string command;       // as a shell takes it

  // All but the command, on one line.
  std::string text() const;
  Json json() const;
  static Machine parse(const JsonAt& at);
  friend bool operator==(const Machine&, const Machine&) = default;
};

// Of this process, with the threads that are set now.
Machine this_machine();

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

// Words as one line of a shell, quoted where that is needed.
std::string shell_line(const std::vector<std::string>& words);

}  // namespace tessera::apps
