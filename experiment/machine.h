// What figures were measured on, and by which command: without it no time means anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/files/json_io.h"

namespace tessera::experiment {

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

// Words as one line of a shell, quoted where that is needed.
std::string shell_line(const std::vector<std::string>& words);

}  // namespace tessera::experiment
