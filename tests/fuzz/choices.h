// Bytes as a row of decisions, so that one generator serves a fuzzer that is guided by coverage and
// a test that draws bytes at random.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/rng.h"

namespace tessera::fuzz {

class Choices {
 public:
  explicit Choices(std::span<const std::uint8_t> bytes)
      : bytes_(bytes),
        values(stable_id({reinterpret_cast<const char*>(bytes.data()), bytes.size()}), 1) {}

  // In [0, n); 0 when the bytes are spent.
  std::uint64_t below(std::uint64_t n) {
    std::uint64_t out = 0;
    for (std::uint64_t reach = 1; reach < n; reach <<= 8) out = out << 8 | next();
    return n == 0 ? 0 : out % n;
  }
  bool one_in(std::uint64_t n) { return below(n) == n - 1; }
  template <class T>
  const T& of(std::span<const T> list) {
    return list[below(list.size())];
  }
  bool spent() const { return bytes_.empty(); }

 private:
  std::uint8_t next() {
    if (bytes_.empty()) return 0;
    const std::uint8_t out = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return out;
  }

  std::span<const std::uint8_t> bytes_;

 public:
  Rng values;  // for the elements of tensors, which no fuzzer needs to choose
};

}  // namespace tessera::fuzz
