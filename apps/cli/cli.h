// What every application shares: one main that turns what went wrong into one line and an exit
// code.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tessera::apps {

inline constexpr int kExitDone = 0;
inline constexpr int kExitBadInput = 2;  // bad usage or input

// Calls `body` with the arguments after the program's name and returns its exit code; --version
// alone is answered here. Ctrl-C and kill set interrupted() (core/interrupt.h); a run they ended
// returns interrupt_exit_code(). Whatever is thrown becomes one line "NAME: error: ..." on stderr
// and exit code 2, with NAME the file name of argv[0]. What TESSERA_CHECK and its
// like hold is checked first (core/environment.h).
// The program is started once more with GOMP_SPINCOUNT set, unless that or OMP_WAIT_POLICY is.
int run_main(int argc, char** argv, const std::function<int(std::vector<std::string>)>& body);

}  // namespace tessera::apps
