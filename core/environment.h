// Settings from the environment that hold words: TESSERA_CHECK, TESSERA_DUMP, TESSERA_SKIP,
// TESSERA_VERBOSE and TESSERA_JIT, each a comma-separated list of words that it knows.
// (TESSERA_ISA and TESSERA_THREADS are read where their values mean something: core/cpu.h,
// core/parallel.h.)
#pragma once

#include <string_view>

namespace tessera {

// Whether `variable` lists `word`. Throws Error when it lists a word that it does not know.
bool environment_lists(std::string_view variable, std::string_view word);

// Throws Error for the first of the variables, TESSERA_ISA included, that says something unknown.
// Programs call it before any work.
void check_environment();

}  // namespace tessera
