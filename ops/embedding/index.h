// Row numbers, checked before any work.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/error.h"

namespace tessera {

template <class T>
void check_row_index(std::string_view op, const T* index, std::int64_t count, std::int64_t rows) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto row = static_cast<std::int64_t>(index[i]);
    check(row >= 0 && row < rows, "[", op, "] index ", row, " at position ", i, " is outside [0, ",
          rows, ")");
  }
}

}  // namespace tessera
