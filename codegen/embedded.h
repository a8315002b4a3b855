// A model as a C++ header, for programs that link the library or its runtime and shall need no
// file.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

// The header of namespace `name`, a C identifier: the contents of a model's two files as constant
// arrays, and load(), which gives the model. `origin` is the name that its first comment says.
std::string embedded_source(std::string_view json, std::string_view weights,
                            const std::string& name, const std::string& origin);

}  // namespace tessera
