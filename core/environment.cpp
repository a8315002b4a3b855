#include "core/environment.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "core/cpu.h"
#include "core/error.h"
#include "core/passes/passes.h"
#include "core/words.h"

namespace tessera {

namespace {

std::vector<std::string> pass_names(const std::string& prefix) {
  std::vector<std::string> out;
  for (const Pass& pass : graph_passes()) out.push_back(prefix + std::string(pass.name));
  return out;
}

std::vector<std::string> dumps() {
  std::vector<std::string> out = pass_names(kDumpAfter);
  out.push_back(kDumpAfter + std::string("select"));
  return out;
}

struct Variable {
  const char* name;
  std::vector<std::string> (*words)();
};

using Words = std::vector<std::string>;
constexpr std::array kVariables = {
    Variable{"TESSERA_CHECK",
             [] {
               return Words{"nan", "poison", "verify"};
             }},
    Variable{"TESSERA_DUMP", dumps},
    Variable{"TESSERA_SKIP", [] { return pass_names(""); }},
    Variable{"TESSERA_VERBOSE", [] { return Words{"select"}; }},
    Variable{"TESSERA_JIT",
             [] {
               return Words{"0", "1"};
             }},
};

// The words that a variable lists, all of them known, or Error.
Words words_of(const Variable& variable) {
  Words out;
  const char* text = std::getenv(variable.name);
  std::string_view rest = text == nullptr ? "" : text;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    out.emplace_back(rest.substr(0, comma));
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
  }
  for (const std::string& word : out) require_known(variable.name, word, variable.words());
  return out;
}

}  // namespace

bool environment_lists(std::string_view variable, std::string_view word) {
  const auto found = std::find_if(kVariables.begin(), kVariables.end(),
                                  [&](const Variable& v) { return variable == v.name; });
  TESSERA_ASSERT(found != kVariables.end());
  const Words words = words_of(*found);
  return std::find(words.begin(), words.end(), word) != words.end();
}

void check_environment() {
  for (const Variable& variable : kVariables) words_of(variable);
  active_features();
}

}  // namespace tessera
