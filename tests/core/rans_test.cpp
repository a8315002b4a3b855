// Entropy-coded planes of indices: what is decoded is what was coded, in nearly as few bits as the
// entropy says, and every kind of damage has its message.
#include "core/files/rans.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "core/error.h"
#include "tests/core/index_streams.h"

namespace tessera {
namespace {

using testing::IndexStream;
using testing::random_stream;

std::vector<std::uint8_t> decoded(const std::vector<std::uint8_t>& coded, const IndexStream& s) {
  std::vector<std::uint8_t> out(s.plane.size(), 0xa5);
  rans_decode(coded, s.bits, s.count, out, "x: ");
  return out;
}

std::string message_of(const std::vector<std::uint8_t>& coded, const IndexStream& s) {
  try {
    decoded(coded, s);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Rans, DecodesToTheSamePlane) {
  Rng rng(1, 1);
  int coded_planes = 0;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const std::int64_t count : {1, 2, 7, 8, 9, 63, 1000, 4095, 4096, 4097, 32768, 100003}) {
      for (const double p : {0.02, 0.3, 0.9}) {
        const IndexStream s = random_stream(bits, count, p, rng);
        const auto coded = rans_encode(s.plane, bits, count);
        if (!coded) continue;
        ++coded_planes;
        EXPECT_LT(coded->size(), s.plane.size());
        EXPECT_EQ(decoded(*coded, s), s.plane) << bits << " bits, " << count << " indices, p " << p;
        EXPECT_EQ(rans_encode(s.plane, bits, count), coded);
      }
    }
  }
  EXPECT_GT(coded_planes, 80);
}

TEST(Rans, ComesCloseToTheEntropy) {
  Rng rng(2, 2);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const double p : {0.15, 0.4, 0.8}) {
      const IndexStream s = random_stream(bits, 200000, p, rng);
      const double entropy = s.entropy_bits() * 200000 / 8;
      const auto coded = rans_encode(s.plane, bits, 200000);
      ASSERT_TRUE(coded.has_value());
      const double header = 12 + 2 * (1 << bits) + 32;
      EXPECT_LT(static_cast<double>(coded->size()), 1.01 * entropy + header)
          << bits << " bits, p " << p;
      EXPECT_GT(static_cast<double>(coded->size()), entropy) << bits << " bits, p " << p;
    }
  }
}

TEST(Rans, LeavesAlone) {
  Rng rng(3, 3);
  // As many bits as there is information; nothing; a plane shorter than a header.
  EXPECT_FALSE(rans_encode(random_stream(4, 10000, 0, rng).plane, 4, 10000));
  EXPECT_FALSE(rans_encode({}, 4, 0));
  EXPECT_FALSE(rans_encode(random_stream(1, 64, 0.1, rng).plane, 1, 64));
  // Unused bits of the last byte, which the coded form does not keep.
  IndexStream s = random_stream(3, 4001, 0.8, rng);
  EXPECT_TRUE(rans_encode(s.plane, 3, 4001));
  s.plane.back() |= 0x80;
  EXPECT_FALSE(rans_encode(s.plane, 3, 4001));
  // One value everywhere takes a header; but a reader allows no more than it should.
  const std::vector<std::uint8_t> zeros(40000), many(100000);
  EXPECT_EQ(rans_encode(zeros, 8, 40000).value().size(), 12u + 2 + 32);
  EXPECT_FALSE(rans_encode(many, 8, 100000));
}

TEST(Rans, RefusesDamage) {
  Rng rng(4, 4);
  const IndexStream s = random_stream(3, 10001, 0.7, rng);
  const auto good = rans_encode(s.plane, 3, 10001).value();
  ASSERT_EQ(message_of(good, s), "no error");
  const std::size_t size = good.size();
  const auto with = [&](const std::function<void(std::vector<std::uint8_t>&)>& change) {
    auto bad = good;
    change(bad);
    return message_of(bad, s);
  };
  const auto set16 = [](std::vector<std::uint8_t>& c, std::size_t at, std::uint16_t value) {
    std::memcpy(c.data() + at, &value, 2);
  };
  ASSERT_EQ(good[2], 8);  // frequencies
  EXPECT_EQ(with([](auto& c) { c.resize(11); }), "x: expected 12 bytes of rANS header, got 11");
  EXPECT_EQ(with([](auto& c) { c[0] = 2; }), "x: expected rANS version 1, got 2");
  EXPECT_EQ(with([](auto& c) { c[1] = 4; }), "x: expected indices of 3 bits, got 4");
  EXPECT_EQ(with([&](auto& c) { set16(c, 2, 9); }), "x: expected 1 to 8 frequencies, got 9");
  EXPECT_EQ(with([&](auto& c) { set16(c, 2, 0); }), "x: expected 1 to 8 frequencies, got 0");
  EXPECT_EQ(with([&](auto& c) { set16(c, 4, 10002); }), "x: expected 10001 indices, got 10002");
  EXPECT_EQ(with([](auto& c) { c[11] = 0xff; }),
            "x: expected 10001 indices, got 18374686479671633681");
  EXPECT_EQ(with([](auto& c) { c.resize(59); }),
            "x: expected at least 60 bytes for 8 frequencies and 8 states, got 59");
  EXPECT_EQ(with([](auto& c) { c.push_back(0); }),
            cat("x: expected words of 2 bytes from byte 60 on, got ", size - 59, " bytes"));
  EXPECT_EQ(with([&](auto& c) { set16(c, 12, 40000); }).substr(0, 47),
            "x: expected frequencies that sum to 32768, got ");
  EXPECT_EQ(with([&](auto& c) {
              const auto first = static_cast<std::uint16_t>(c[12] | c[13] << 8);
              set16(c, 12, static_cast<std::uint16_t>(first + 1));
            }),
            "x: expected frequencies that sum to 32768, got 32769");
  EXPECT_EQ(with([&](auto& c) {
              set16(c, 28 + 4 * 3, 77);
              set16(c, 28 + 4 * 3 + 2, 0);
            }),
            "x: expected state 3 to be at least 65536, got 77");
  EXPECT_EQ(with([](auto& c) { c.erase(c.end() - 2, c.end()); }),
            "x: the words end before the last of 10001 indices (is it truncated?)");
  EXPECT_EQ(with([](auto& c) { c.resize(60); }),
            "x: the words end before the last of 10001 indices (is it truncated?)");
  EXPECT_EQ(with([](auto& c) { c.resize(c.size() + 2); }),
            cat("x: expected the words to end at byte ", size, ", but 2 more bytes follow"));
  // The last word belongs to a state that nothing after it corrects.
  EXPECT_NE(with([](auto& c) { c.back() ^= 1; }), "no error");
}

TEST(Rans, TheStatesMustEndWhereTheyBegan) {
  // All indices 0: each state keeps its value.
  const std::vector<std::uint8_t> zeros(2000);
  auto coded = rans_encode(zeros, 8, 2000).value();
  coded[14 + 4 * 5] = 7;
  const IndexStream s{8, 2000, zeros};
  EXPECT_EQ(message_of(coded, s), "x: expected state 5 to end at 65536, got 65543");
}

TEST(Rans, UnusedBitsMustBeClear) {
  // 2001 indices of 1 bit, coded as if there were 2008 of which the last 7 are not 0.
  std::vector<std::uint8_t> plane(251);
  plane.back() = 0x80;
  auto coded = rans_encode(plane, 1, 2008).value();
  const std::uint64_t count = 2001;
  std::memcpy(coded.data() + 4, &count, 8);
  const IndexStream s{1, 2001, plane};
  EXPECT_EQ(message_of(coded, s), "x: bits behind the last index are set");
}

}  // namespace
}  // namespace tessera
