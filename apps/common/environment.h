// What figures were measured on, and by which command: without it no time means anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/files/json_io.h"

namespace tessera::apps {

struct Environment {
  std::string cpu;           // "AMD EPYC 9B45"
  std::int64_t cores = 0;    // logical processors that this process may use
  std::int64_t threads = 0;  // that the library used
  std::string features;      // instruction sets: "avx2+avx512"
  std::string version;       // of this library
  std::string command;       // as a shell takes it

  // All but the command, on one line.
  std::string text() const;
  Json json() const;
  static Environment parse(const JsonAt& at);
  friend bool operator==(const Environment&, const Environment&) = default;
};

// Of this process, with the threads that are set now.
Environment this_environment();

// For people: each machine once, in lines of at most `columns` (0: one line), with the commands
// that ran on it, whole, to be copied.
std::string environments_text(const std::vector<Environment>& all, int columns);

// Words as one line of a shell, quoted where that is needed.
std::string shell_line(const std::vector<std::string>& words);

}  // namespace tessera::apps
