// Damaged coded planes: an Error or a whole plane, never anything else.
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "core/files/rans.h"
#include "tests/core/index_streams.h"

namespace tessera {
namespace {

using testing::IndexStream;

// Bytes changed, removed, doubled or added, mostly in the header; frequencies moved from one index
// to another, so that their sum stays right.
std::vector<std::uint8_t> mutate(std::vector<std::uint8_t> c, int bits, Rng& rng) {
  for (std::uint64_t n = 1 + rng.below(3); n > 0 && c.size() > 1; --n) {
    const std::size_t span = rng.below(2) ? c.size() : std::min<std::size_t>(c.size(), 70);
    const auto at = static_cast<std::ptrdiff_t>(rng.below(span));
    switch (rng.below(6)) {
      case 0:
        c[static_cast<std::size_t>(at)] ^= static_cast<std::uint8_t>(1 << rng.below(8));
        break;
      case 1:
        c[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(rng.below(256));
        break;
      case 2:
        c.resize(rng.below(c.size() + 1) / 2 * 2);
        break;
      case 3:
        c.insert(c.begin() + at, 2, static_cast<std::uint8_t>(rng.below(256)));
        break;
      case 4:
        c.resize(c.size() + 2 * rng.below(4), 0xff);
        break;
      default: {
        const std::size_t size = std::min<std::size_t>(c.size() / 2 - 1, std::size_t{1} << bits);
        if (c.size() < 12 + 2 * size) break;
        const std::size_t i = 12 + 2 * rng.below(size), j = 12 + 2 * rng.below(size);
        std::uint16_t from, to;
        std::memcpy(&from, c.data() + i, 2);
        std::memcpy(&to, c.data() + j, 2);
        if (i == j || from == 0) break;
        const auto some = static_cast<std::uint16_t>(1 + rng.below(from));
        from = static_cast<std::uint16_t>(from - some), to = static_cast<std::uint16_t>(to + some);
        std::memcpy(c.data() + i, &from, 2);
        std::memcpy(c.data() + j, &to, 2);
      }
    }
  }
  return c;
}

TEST(RansFuzz, ErrorOrPlane) {
  Rng rng(21, stable_id("rans"));
  std::vector<std::pair<IndexStream, std::vector<std::uint8_t>>> valid;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const std::int64_t count : {3001, 9000}) {
      IndexStream s = testing::random_stream(bits, count, 0.9, rng);
      auto coded = rans_encode(s.plane, bits, count).value();
      valid.emplace_back(std::move(s), std::move(coded));
    }
    const std::vector<std::uint8_t> zeros(static_cast<std::size_t>(1000 * bits));
    valid.push_back({{bits, 8000, zeros}, rans_encode(zeros, bits, 8000).value()});
  }
  int decoded = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto& [s, coded] = valid[rng.below(valid.size())];
    // On the heap and of the exact size, so that a sanitizer sees a byte read or written beyond.
    const std::vector<std::uint8_t> bad = mutate(coded, s.bits, rng);
    std::vector<std::uint8_t> plane(s.plane.size());
    try {
      rans_decode(bad, s.bits, s.count, plane, "fuzz: ");
    } catch (const Error& error) {
      const std::string_view what = error.what();
      EXPECT_TRUE(what.starts_with("fuzz: ")) << what;
      EXPECT_EQ(what.find('\n'), what.npos) << what;
      EXPECT_LT(what.size(), 200u) << what;
      ++refused;
      continue;
    }
    ++decoded;
    if (bad == coded) EXPECT_EQ(plane, s.plane);
    // What was decoded is a plane like any other.
    const auto again = rans_encode(plane, s.bits, s.count);
    if (again) {
      std::vector<std::uint8_t> back(plane.size());
      rans_decode(*again, s.bits, s.count, back, "again: ");
      EXPECT_EQ(back, plane);
    }
  }
  EXPECT_GT(decoded, 20);
  EXPECT_GT(refused, 10000);
}

}  // namespace
}  // namespace tessera
