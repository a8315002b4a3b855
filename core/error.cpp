#include "core/error.h"

#include <stdexcept>

namespace tessera::detail {

void assertion_failed(const char* expression, const char* file, int line) {
  throw std::logic_error(cat(file, ":", line, ": internal error: ", expression));
}

}  // namespace tessera::detail
