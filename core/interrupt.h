// Ctrl-C: the current step finishes, the caller saves, the program exits with 130.
#pragma once

namespace tessera {

inline constexpr int kExitInterrupted = 130;

// From now on SIGINT and SIGTERM set a flag; a second one ends the process at once.
void catch_interrupts();
bool interrupted();
// For tests: sets or clears the flag.
void set_interrupted(bool value);

}  // namespace tessera
