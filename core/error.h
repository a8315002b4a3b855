// Errors: what a user did wrong throws tessera::Error with one clear line; broken invariants
// assert.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace tessera {

// A user-facing error: bad shape, bad file, bad flag. what() is one line without a trailing
// newline.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Concatenates its arguments, written with operator<<, or as their text() where they have one: what
// a message that nobody reads shows is not printed either.
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  const auto put = [&out](const auto& value) {
    if constexpr (requires { value.text(); }) {
      out << value.text();
    } else {
      out << value;
    }
  };
  (put(args), ...);
  return out.str();
}

template <class... Args>
[[noreturn]] void fail(const Args&... args) {
  throw Error(cat(args...));
}

// Throws Error with the message when the condition, something a user controls, does not hold.
template <class... Args>
void check(bool condition, const Args&... message) {
  if (!condition) [[unlikely]]
    fail(message...);
}

namespace detail {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}

}  // namespace tessera

// An invariant of the code itself. Always on: none of them sits in an inner loop.
#define TESSERA_ASSERT(condition) \
  ((condition) ? (void)0 : ::tessera::detail::assertion_failed(#condition, __FILE__, __LINE__))
