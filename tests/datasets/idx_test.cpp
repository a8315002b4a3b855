#include "datasets/idx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/datasets/packed.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::datasets {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

std::string labels_file() {
  return big_endian(0x801) + big_endian(4) + std::string("\1\2\3\4");
}

std::string images_file() {
  std::string out = big_endian(0x803) + big_endian(2) + big_endian(3) + big_endian(4);
  for (int i = 0; i < 24; ++i) out += static_cast<char>(i * 10);
  return out;
}

class Idx : public ::testing::Test {
 protected:
  // The message for a file of these bytes; one line that starts with the place and names the file.
  std::string message(const std::string& bytes, const std::string& name = "file") {
    const auto path = dir_.write(name, bytes);
    const std::string text = error_of([&] { read_idx(path); });
    EXPECT_THAT(text, AllOf(HasSubstr("[idx] " + path.string()), Not(HasSubstr("\n"))));
    return text;
  }
  TempDir dir_;
};

TEST_F(Idx, ReadsPlainAndPackedWhateverTheName) {
  for (const std::string& bytes : {images_file(), gzip(images_file()), xz(images_file())}) {
    for (const char* name : {"a", "a.gz"}) {
      const Tensor t = read_idx(dir_.write(name, bytes));
      EXPECT_EQ(t.text_type(), "u8[2,3,4]");
      for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(t.span<std::uint8_t>()[i], i * 10);
    }
  }
  const Tensor t = read_idx(dir_.write("b", gzip(labels_file())));
  EXPECT_EQ(t.text_type(), "u8[4]");
  EXPECT_EQ(t.to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{1, 2, 3, 4}));
}

TEST_F(Idx, MissingFile) {
  EXPECT_THAT(error_of([&] { read_idx(dir_.path() / "none"); }), HasSubstr("none: no such file"));
  EXPECT_THAT(error_of([&] { read_idx(dir_.path()); }), HasSubstr("expected a file"));
}

TEST_F(Idx, WrongMagicAndType) {
  EXPECT_THAT(message(big_endian(0x12345678) + labels_file()),
              HasSubstr("found magic 0x12345678, expected 0x00000803 (images) or 0x00000801"));
  EXPECT_THAT(message(big_endian(0x802) + labels_file()), HasSubstr("found magic 0x00000802"));
  EXPECT_THAT(message(big_endian(0xD01) + labels_file()),
              HasSubstr("found type code 13 (magic 0x00000D01), expected 8 (unsigned bytes)"));
  EXPECT_THAT(message("<html>not found</html>"), HasSubstr("found magic 0x3C68746D"));
}

TEST_F(Idx, EndsInsideTheHeader) {
  for (std::size_t n : {0u, 1u, 3u, 4u, 7u, 15u}) {
    const std::string start = images_file().substr(0, n);
    EXPECT_THAT(message(start), HasSubstr("ends inside its header: expected 4 bytes of"));
    EXPECT_THAT(message(gzip(start), "z"), HasSubstr("ends inside its header"));
  }
}

TEST_F(Idx, TruncatedData) {
  const std::string bytes = images_file().substr(0, 16 + 20);
  const char* expected = "truncated: the header declares [2,3,4] = 24 bytes of data, found 20";
  EXPECT_THAT(message(bytes), HasSubstr(expected));
  EXPECT_THAT(message(gzip(bytes)), HasSubstr(expected));
}

TEST_F(Idx, TrailingBytes) {
  EXPECT_THAT(message(labels_file() + "x"),
              HasSubstr("too long: the header declares [4] = 4 bytes of data, found 5"));
  EXPECT_THAT(message(gzip(labels_file() + "x")),
              HasSubstr("too long: the header declares [4] = 4 bytes of data, found more"));
}

TEST_F(Idx, EmptyAxis) {
  EXPECT_THAT(message(big_endian(0x801) + big_endian(0)),
              HasSubstr("axis 0 has length 0, expected at least 1"));
}

TEST_F(Idx, HugeHeadersAllocateNothing) {
  const std::string most = big_endian(0xFFFFFFFF);
  const std::string billion = big_endian(0x803) + big_endian(1 << 10) + big_endian(1 << 10) +
                              big_endian(1 << 10) + std::string(100, 'x');
  reset_allocation_peak();
  const auto before = allocation_count();
  EXPECT_THAT(message(big_endian(0x803) + most + most + most),
              HasSubstr("declares [4294967295] and more, above the limit of 2147483648 bytes"));
  EXPECT_THAT(message(big_endian(0x803) + big_endian(1) + most + most),
              HasSubstr("declares [1,4294967295] and more, above the limit"));
  EXPECT_THAT(message(billion),
              HasSubstr("[1024,1024,1024] = 1073741824 bytes of data, found 100"));
  EXPECT_THAT(message(gzip(billion)), HasSubstr("1073741824 bytes, but a gzip file of "));
  EXPECT_EQ(allocation_count().peak_bytes, before.live_bytes);
  const auto path = dir_.write("limit", labels_file());
  EXPECT_THAT(error_of([&] { read_idx(path, 3); }), HasSubstr("above the limit of 3 bytes"));
  EXPECT_EQ(read_idx(path, 4).numel(), 4);
}

TEST_F(Idx, GzipBombIsNotUnpacked) {
  reset_allocation_peak();
  const auto before = allocation_count();
  const std::string bomb = gzip(labels_file() + std::string(64 << 20, '\0'));
  EXPECT_THAT(message(bomb), HasSubstr("[4] = 4 bytes of data, found more"));
  EXPECT_LE(allocation_count().peak_bytes - before.live_bytes, 4096);
}

TEST_F(Idx, DamagedGzip) {
  std::string images = images_file();
  images.resize(16);
  images[7] = 1, images[10] = 1, images[14] = 1;  // [1, 256 + 3, 256 + 4]
  std::uint32_t state = 1;
  for (int i = 0; i < 259 * 260; ++i)
    images += static_cast<char>((state = state * 1664525u + 1) >> 24);
  const std::string good = gzip(images);
  EXPECT_EQ(read_idx(dir_.write("good", good)).numel(), 259 * 260);

  std::string flipped = good;
  flipped[flipped.size() - 6] ^= 1;  // in the checksum
  EXPECT_THAT(message(flipped), HasSubstr("damaged gzip stream"));
  EXPECT_THAT(message(flipped), HasSubstr("wrong checksum"));
  for (std::size_t cut : {11u, 100u, 30000u}) {
    EXPECT_THAT(message(good.substr(0, cut)), ContainsRegex("damaged|truncated|ends in"));
  }
  EXPECT_THAT(message(good.substr(0, good.size() - 3)), HasSubstr("damaged gzip stream"));
  EXPECT_THAT(message(good + "junk"), ContainsRegex("damaged|too long"));
  // No damage to any byte may do anything but throw Error or leave the data as they were.
  for (std::size_t at = 2; at < good.size(); at += 997) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(~bytes[at]);
    const auto path = dir_.write("damaged", bytes);
    try {
      const Tensor t = read_idx(path);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(t.data()), 259 * 260), images.substr(16));
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(path.string()));
    }
  }
}

}  // namespace
}  // namespace tessera::datasets
