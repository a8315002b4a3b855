// Where real data sets are, for the tests labelled data.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>

#include "tests/test_dir.h"

namespace tessera::testing {

// The folder `name` ("mnist", "ptb" ...) below $TESSERA_DATA or, without that, below ../shared/data
// beside the source tree; nothing when it does not exist: the test then calls GTEST_SKIP.
inline std::optional<std::filesystem::path> data_dir(std::string_view name) {
  const char* root = std::getenv("TESSERA_DATA");
  const auto path = (root ? std::filesystem::path(root) : test_dir() / "../../shared/data") / name;
  if (!std::filesystem::is_directory(path)) return std::nullopt;
  return std::filesystem::canonical(path);
}

}  // namespace tessera::testing
