// Where a model's second file is.
#pragma once

#include <filesystem>
#include <string>

namespace tessera {

// The weights file that a graph file names: beside what a link leads to, or else beside the link.
// Throws Error when it is in neither place.
std::filesystem::path find_weights(const std::filesystem::path& json, const std::string& name);

}  // namespace tessera
