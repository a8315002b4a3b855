// Where the tests' own files lie. A function, so that only one source depends on where the tree is.
#pragma once

#include <filesystem>

namespace tessera::testing {

const std::filesystem::path& test_dir();

}  // namespace tessera::testing
