// tessera::load("x.json"): a saved model with the standard operators.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/files/model.h"

namespace tessera {

// As load(path, ops::standard_ops()).
Model load(const std::filesystem::path& path);
// As load_from_memory(json, weights, name, ops::standard_ops()).
Model load_from_memory(std::string_view json, std::string_view weights, const std::string& name);

}  // namespace tessera
