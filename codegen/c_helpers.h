// The C functions that operators call, as text.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

// The function `name` (tessera_NAME in C) after those it calls itself, each once over all calls
// with the same `written`, which names those that are there already. Guarded, so that several
// networks may stand in one file.
std::string c_helper(std::string_view name, std::string& written);

}  // namespace tessera
