// Runs this program again, in a fresh process.
#pragma once

#include <string>
#include <vector>

namespace tessera::apps {

struct Finished {
  int exit_code = 0;
  std::string output;  // of stdout; stderr is shared with this process
};

// Throws Error when the process cannot be started, and Interrupted when this one is interrupted,
// after the other has ended.
Finished run_self(const std::vector<std::string>& args);

}  // namespace tessera::apps
