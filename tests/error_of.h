// What a call that should fail says.
#pragma once

#include <string>

#include "core/error.h"

namespace tessera::testing {

// The message of the Error that `fn` throws, or "no error".
template <class Fn>
std::string error_of(Fn&& fn) {
  try {
    fn();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace tessera::testing
