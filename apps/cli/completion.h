// Completion of command lines by shells, made of the flags that verbs offer.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tessera::apps {

struct CompletedVerb {
  std::string name;
  std::function<void()> run;  // calls its parse_flags()
};

// What bash's `source` reads: a function _PROGRAM that completes verbs, flags, the words that a
// flag takes ("f32|bf16"), and names of files and folders. `without`: runs the program without a
// verb, or null.
std::string bash_completion(const std::string& program, const std::vector<CompletedVerb>& verbs,
                            const std::function<void()>& without = nullptr);

// The verb `completion` of a program: prints the above. Returns the exit code.
int completion_command(const std::string& program, const std::vector<CompletedVerb>& verbs,
                       const std::vector<std::string>& args,
                       const std::function<void()>& without = nullptr);

}  // namespace tessera::apps
