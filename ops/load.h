// tessera::load("x.json"): a saved model with the standard operators.
#pragma once

#include <filesystem>

#include "core/files/model.h"

namespace tessera {

// As load(path, ops::standard_ops()).
Model load(const std::filesystem::path& path);

}  // namespace tessera
