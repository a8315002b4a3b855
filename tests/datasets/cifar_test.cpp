#include "datasets/cifar.h"

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

constexpr std::size_t kPixels = 3072;

// Record i has label i mod 10 (and coarse label i mod 20 before a fine one of i mod 100), red i
// mod 251, green 2, blue `tag`.
std::string records(int n, char tag, bool fine = false) {
  std::string out;
  for (int i = 0; i < n; ++i) {
    if (fine) out += static_cast<char>(i % 20);
    out += static_cast<char>(fine ? i % 100 : i % 10);
    out += std::string(1024, static_cast<char>(i % 251)) + std::string(1024, 2) +
           std::string(1024, tag);
  }
  return out;
}

class CifarFile : public ::testing::Test {
 protected:
  // Reads a file that should have three records.
  std::string message(const std::string& bytes, const CifarRecord& record = {{10}}) {
    const auto path = dir_.write("batch.bin", bytes);
    Tensor images(DType::u8, {3, 3, 32, 32}), labels(DType::s32, {3});
    const std::string text = error_of([&] { read_cifar(path, record, images, labels); });
    EXPECT_THAT(text, AllOf(HasSubstr("[cifar] " + path.string()), Not(HasSubstr("\n"))));
    return text;
  }
  TempDir dir_;
};

TEST_F(CifarFile, ReadsPlainAndPacked) {
  const std::string bytes = records(3, 9);
  for (const std::string& file : {bytes, gzip(bytes), xz(bytes)}) {
    Tensor images(DType::u8, {3, 3, 32, 32}), labels(DType::s32, {3});
    read_cifar(dir_.write("batch", file), {{10}}, images, labels);
    EXPECT_EQ(labels.to_vector<std::int32_t>(), (std::vector<std::int32_t>{0, 1, 2}));
    const auto pixels = images.span<std::uint8_t>();
    EXPECT_EQ(pixels[2 * kPixels], 2);
    EXPECT_EQ(pixels[2 * kPixels + 1023], 2);
    EXPECT_EQ(pixels[1 * kPixels], 1);
    EXPECT_EQ(pixels[1 * kPixels + 1024], 2);
    EXPECT_EQ(pixels[1 * kPixels + 2048], 9);
    EXPECT_EQ(pixels[3 * kPixels - 1], 9);
  }
}

TEST_F(CifarFile, WrongCounts) {
  const char* expected = "expected 3 records of 3073 bytes = 9219 bytes";
  EXPECT_THAT(message(records(2, 0)),
              AllOf(HasSubstr("found 2 records and 0 bytes more"), HasSubstr(expected)));
  EXPECT_THAT(message(records(3, 0) + "x"), HasSubstr("found 3 records and 1 bytes more"));
  EXPECT_THAT(message(""), HasSubstr("found 0 records and 0 bytes more"));
  const std::string cut = records(3, 0).substr(0, 3073 + 100);
  EXPECT_THAT(message(cut), HasSubstr("found 1 records and 100 bytes more"));
  for (const auto& pack : {gzip, xz}) {
    EXPECT_THAT(message(pack(cut)),
                AllOf(HasSubstr("truncated after record 1 and 100 bytes"), HasSubstr(expected)));
    EXPECT_THAT(message(pack(records(4, 0))), AllOf(HasSubstr("too long"), HasSubstr(expected)));
  }
}

TEST_F(CifarFile, LabelsOutOfRange) {
  std::string bytes = records(3, 0);
  bytes[2 * 3073] = 10;
  EXPECT_THAT(message(bytes), HasSubstr("record 2 (byte 6146): label 10, expected 0 to 9"));
  bytes = records(3, 0, true);
  bytes[3074] = 20;
  EXPECT_THAT(message(bytes, {{20, 100}}),
              HasSubstr("record 1 (byte 3074): label 20, expected 0 to 19"));
  bytes[3074] = 19;
  bytes[3075] = static_cast<char>(200);
  EXPECT_THAT(message(bytes, {{20, 100}}),
              HasSubstr("record 1 (byte 3075): label 200, expected 0 to 99"));
}

TEST_F(CifarFile, DamagedStreams) {
  std::string noise = records(3, 0);
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < noise.size(); ++i) {
    if (i % 3073 != 0) noise[i] = static_cast<char>((state = state * 1664525u + 1) >> 24);
  }
  Tensor images(DType::u8, {3, 3, 32, 32}), labels(DType::s32, {3});
  for (const auto& pack : {gzip, xz}) {
    const std::string good = pack(noise);
    for (const std::size_t cut : {8u, 100u, 5000u}) {
      EXPECT_THAT(message(good.substr(0, cut)), ContainsRegex("damaged|truncated"));
    }
    EXPECT_THAT(message(good.substr(0, good.size() - 5)), ContainsRegex("damaged"));
    // No damage to any byte may do anything but throw Error or leave the data as they were.
    for (std::size_t at = 0; at < good.size(); at += 131) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(~bytes[at]);
      const auto path = dir_.write("damaged", bytes);
      try {
        read_cifar(path, {{10}}, images, labels);
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(images.data()), kPixels),
                  noise.substr(1, kPixels))
            << at;
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr(path.string()));
      }
    }
  }
}

TEST_F(CifarFile, MissingOrNoFile) {
  Tensor images(DType::u8, {3, 3, 32, 32}), labels(DType::s32, {3});
  EXPECT_THAT(error_of([&] { read_cifar(dir_.path() / "none", {{10}}, images, labels); }),
              HasSubstr("none: no such file"));
  EXPECT_THAT(error_of([&] { read_cifar(dir_.path(), {{10}}, images, labels); }),
              HasSubstr("expected a file"));
}

class Cifar10Folder : public ::testing::Test {
 protected:
  // The batches 1 to 5, tagged with their numbers in blue, and those of the test images asked for.
  void write(const std::string& folder, bool whole_test, bool first_test) {
    for (char batch = 1; batch <= 5; ++batch) {
      dir_.write(cat(folder, "data_batch_", int{batch}, ".bin.gz"), gzip(records(10000, batch)));
    }
    if (whole_test) dir_.write(folder + "test_batch.bin.gz", gzip(records(10000, 100)));
    if (first_test) dir_.write(folder + "test_batch_first1000.bin", records(1000, 101));
  }
  static std::vector<int> tags(const Dataset& data) {
    std::vector<int> out;
    const auto pixels = data.images.span<std::uint8_t>();
    for (std::int64_t i = 0; i < data.size(); i += 1000) {
      const int tag = pixels[static_cast<std::size_t>(i) * kPixels + 3071];
      if (out.empty() || out.back() != tag) out.push_back(tag);
    }
    return out;
  }
  std::string message(const Cifar10& options = {}) {
    return error_of([&] { cifar10(dir_.path(), options); });
  }
  TempDir dir_;
};

TEST_F(Cifar10Folder, WithTheWholeTestBatch) {
  write("cifar-10-batches-bin/", true, false);
  const Split published = cifar10(dir_.path());
  EXPECT_EQ(published.train.name, "cifar10/train");
  EXPECT_EQ(published.test.name, "cifar10/test");
  EXPECT_EQ(published.train.images.text_type(), "u8[50000,3,32,32]");
  EXPECT_EQ(published.test.images.text_type(), "u8[10000,3,32,32]");
  EXPECT_EQ(published.train.classes, 10);
  EXPECT_EQ(tags(published.train), (std::vector<int>{1, 2, 3, 4, 5}));
  EXPECT_EQ(tags(published.test), std::vector<int>{100});

  const Split holdout = cifar10(dir_.path() / "cifar-10-batches-bin", {.holdout = true});
  EXPECT_EQ(tags(holdout.train), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(tags(holdout.test), (std::vector<int>{5, 100}));
  EXPECT_EQ(holdout.test.size(), 11000);
  EXPECT_EQ(holdout.train.name, "cifar10/train (batches 1,2,3,4)");
  EXPECT_EQ(holdout.test.name, "cifar10/test (batch 5 and the first 1000 test images)");
}

TEST_F(Cifar10Folder, WithTheFirstThousandTestImages) {
  write("", false, true);
  const Split split = cifar10(dir_.path());
  EXPECT_EQ(split.train.size(), 40000);
  EXPECT_EQ(tags(split.test), (std::vector<int>{5, 101}));
  EXPECT_EQ(split.test.labels.span<std::int32_t>()[10123], 3);
  EXPECT_EQ(split.test.name, "cifar10/test (batch 5 and the first 1000 test images)");

  const Split by_hand = cifar10(dir_.path(), {.train = {3}, .test = {2, 1}, .test_images = 0});
  EXPECT_EQ(tags(by_hand.train), std::vector<int>{3});
  EXPECT_EQ(tags(by_hand.test), (std::vector<int>{1, 2}));
  EXPECT_EQ(by_hand.test.name, "cifar10/test (batches 1,2)");

  const Split all = cifar10(dir_.path(), {.test_images = 1000});
  EXPECT_EQ(all.train.size(), 50000);
  EXPECT_EQ(all.test.name, "cifar10/test (the first 1000 test images)");

  EXPECT_THAT(message({.test_images = 10000}), HasSubstr("[cifar10] missing test_batch.bin"));
  std::filesystem::remove(dir_.path() / "data_batch_3.bin.gz");
  EXPECT_THAT(message(), HasSubstr("missing data_batch_3.bin"));
  EXPECT_EQ(cifar10(dir_.path(), {.train = {1}, .test = {5}}).test.size(), 11000);
}

TEST_F(Cifar10Folder, MissingFilesAreListedWithTheWayToGiveThem) {
  EXPECT_THAT(error_of([] { cifar10("/no/such/folder"); }),
              AllOf(HasSubstr("missing data_batch_1.bin, data_batch_2.bin"),
                    HasSubstr("test_batch.bin"), HasSubstr("'/no/such/folder'"),
                    HasSubstr("--data DIR"), HasSubstr("TESSERA_DATA"), Not(HasSubstr("\n"))));
  EXPECT_THAT(error_of([] { cifar100("/no/such/folder"); }),
              AllOf(HasSubstr("[cifar100] missing train.bin, test.bin"),
                    HasSubstr("/no/such/folder/cifar-100-binary")));
}

TEST_F(Cifar10Folder, OptionsThatContradict) {
  EXPECT_THAT(message({.holdout = true, .train = {1}}), HasSubstr("holdout fixes"));
  EXPECT_THAT(message({.train = {1, 6}}),
              HasSubstr("train: expected training batches 1 to 5, got 6"));
  EXPECT_THAT(message({.train = {1}, .test = {1}}), HasSubstr("batch 1 would both train and test"));
  EXPECT_THAT(message({.test = {2, 2}}), HasSubstr("test: a training batch is named twice"));
  EXPECT_THAT(message({.test = {1, 2, 3, 4, 5}}), HasSubstr("at least one batch to train on"));
  EXPECT_THAT(message({.test_images = 0}), HasSubstr("something to test on"));
  EXPECT_THAT(message({.test_images = 7}), HasSubstr("0, 1000 or 10000 test images, got 7"));
}

TEST(Cifar100Folder, FineLabels) {
  const TempDir dir;
  dir.write("cifar-100-binary/train.bin.gz", gzip(records(50000, 1, true)));
  dir.write("cifar-100-binary/test.bin", records(10000, 2, true));
  const Split split = cifar100(dir.path());
  EXPECT_EQ(split.train.name, "cifar100/train");
  EXPECT_EQ(split.train.images.text_type(), "u8[50000,3,32,32]");
  EXPECT_EQ(split.test.images.text_type(), "u8[10000,3,32,32]");
  EXPECT_EQ(split.test.classes, 100);
  EXPECT_EQ(split.train.labels.span<std::int32_t>()[49999], 99);
  EXPECT_EQ(split.test.labels.span<std::int32_t>()[123], 23);
  EXPECT_EQ(split.test.images.span<std::uint8_t>()[123 * kPixels], 123);
}

TEST_F(CifarFile, ImagesWithoutLabels) {
  std::string strange = records(70, 4);
  strange[0] = '\377';  // labels are not looked at
  dir_.write("a.bin", strange);
  dir_.write("b.bin.xz", xz(records(3, 9)));
  dir_.write("c.html", "no records");
  const Tensor all = cifar_images(dir_.path(), {{10}});
  EXPECT_EQ(all.text_type(), "u8[73,3,32,32]");
  EXPECT_EQ(all.span<std::uint8_t>()[2 * kPixels], 2);       // red of the third
  EXPECT_EQ(all.span<std::uint8_t>()[71 * kPixels - 1], 9);  // blue of the packed file's first
  dir_.write("d.bin", records(2, 1) + "x");
  EXPECT_THAT(error_of([&] { cifar_images(dir_.path(), {{10}}); }),
              AllOf(HasSubstr("d.bin"), HasSubstr("ends inside a record of 3073 bytes")));
  const TempDir other;
  std::filesystem::create_directories(other.path() / "sub");
  EXPECT_THAT(error_of([&] { cifar_images(other.path() / "sub", {{10}}); }),
              HasSubstr("expected files *.bin"));
}

}  // namespace
}  // namespace tessera::datasets
