#include "datasets/mnist.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/datasets/temp_dir.h"

namespace tessera::datasets {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string images(std::uint32_t n, std::uint32_t side = 28) {
  return big_endian(0x803) + big_endian(n) + big_endian(side) + big_endian(side) +
         std::string(n * side * side, '\7');
}

std::string labels(const std::string& values) {
  return big_endian(0x801) + big_endian(static_cast<std::uint32_t>(values.size())) + values;
}

class MnistFiles : public ::testing::Test {
 protected:
  void write_all(const std::string& folder = "") {
    dir_.write(folder + "train-images-idx3-ubyte", images(3));
    dir_.write(folder + "train-labels-idx1-ubyte", labels(std::string("\0\5\11", 3)));
    dir_.write(folder + "t10k-images.idx3-ubyte", images(2));
    dir_.write(folder + "t10k-labels.idx1-ubyte", labels("\1\2"));
  }
  std::string message() {
    return error_of([&] { mnist(dir_.path()); });
  }
  TempDir dir_;
};

TEST_F(MnistFiles, ReadsBothSpellings) {
  write_all();
  const Split split = mnist(dir_.path());
  EXPECT_EQ(split.train.images.text_type(), "u8[3,28,28]");
  EXPECT_EQ(split.train.labels.to_vector<std::int32_t>(), (std::vector<std::int32_t>{0, 5, 9}));
  EXPECT_EQ(split.test.images.text_type(), "u8[2,28,28]");
  EXPECT_EQ(split.test.labels.to_vector<std::int32_t>(), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(split.test.size(), 2);
  EXPECT_EQ(split.test.pixels(), 784);
  EXPECT_EQ(split.test.classes, 10);
}

TEST_F(MnistFiles, TheTestSetNeedsNoTrainingImages) {
  dir_.write("t10k-images.idx3-ubyte", images(2));
  EXPECT_THAT(error_of([&] { mnist_test(dir_.path()); }),
              AllOf(HasSubstr("missing t10k-labels-idx1-ubyte"), Not(HasSubstr("train-"))));
  dir_.write("t10k-labels.idx1-ubyte", labels("\1\2"));
  EXPECT_EQ(mnist_test(dir_.path()).size(), 2);
  EXPECT_THAT(message(), HasSubstr("missing train-images"));
}

TEST_F(MnistFiles, FindsASubfolder) {
  write_all("mnist/");
  EXPECT_EQ(mnist(dir_.path()).train.size(), 3);
  EXPECT_EQ(mnist(dir_.path() / "mnist").train.size(), 3);
}

TEST_F(MnistFiles, MissingFilesAreListedWithTheWayToGiveThem) {
  EXPECT_THAT(error_of([] { mnist("/no/such/folder"); }),
              AllOf(HasSubstr("missing train-images-idx3-ubyte, train-labels-idx1-ubyte"),
                    HasSubstr("'/no/such/folder'"), HasSubstr("--data DIR"),
                    HasSubstr("TESSERA_DATA"), Not(HasSubstr("\n"))));
  write_all();
  std::filesystem::remove(dir_.path() / "t10k-labels.idx1-ubyte");
  EXPECT_THAT(message(), AllOf(HasSubstr("missing t10k-labels-idx1-ubyte: expected train-images"),
                               HasSubstr(dir_.path().string())));
}

TEST_F(MnistFiles, LabelOutOfRange) {
  write_all();
  const auto path = dir_.write("train-labels-idx1-ubyte", labels(std::string("\0\1\12", 3)));
  EXPECT_THAT(message(), HasSubstr(path.string() + ": label 2 is 10, expected 0 to 9"));
}

TEST_F(MnistFiles, CountsDiffer) {
  write_all();
  dir_.write("train-labels-idx1-ubyte", labels("\1\2"));
  EXPECT_THAT(message(), AllOf(HasSubstr("train-images-idx3-ubyte holds 3 images, but"),
                               HasSubstr("train-labels-idx1-ubyte holds 2 labels")));
}

TEST_F(MnistFiles, WrongKindOrSize) {
  write_all();
  dir_.write("t10k-images.idx3-ubyte", images(2, 32));
  EXPECT_THAT(message(), HasSubstr("found u8[2,32,32], expected images u8[n,28,28]"));
  dir_.write("t10k-images.idx3-ubyte", labels("\1\2"));
  EXPECT_THAT(message(), HasSubstr("found u8[2], expected images u8[n,28,28]"));
  dir_.write("t10k-images.idx3-ubyte", images(2));
  dir_.write("t10k-labels.idx1-ubyte", images(2));
  EXPECT_THAT(message(), HasSubstr("found u8[2,28,28], expected labels u8[n]"));
}

TEST_F(MnistFiles, ImagesWithoutLabels) {
  dir_.write("b-images-idx3-ubyte", images(2));
  dir_.write("a-images.idx3-ubyte", big_endian(0x803) + big_endian(1) + big_endian(28) +
                                        big_endian(28) + std::string(784, '\5'));
  dir_.write("labels-idx1-ubyte", labels("\1"));
  const Tensor all = mnist_images(dir_.path());
  EXPECT_EQ(all.text_type(), "u8[3,28,28]");
  EXPECT_EQ(all.span<std::uint8_t>()[0], 5);  // by name
  EXPECT_EQ(all.span<std::uint8_t>()[784], 7);
  dir_.write("c-idx3-ubyte", images(1, 27));
  EXPECT_THAT(error_of([&] { mnist_images(dir_.path()); }), HasSubstr("c-idx3-ubyte"));
  EXPECT_THAT(error_of([] { mnist_images("/no/such/folder"); }), HasSubstr("/no/such/folder"));
  const TempDir empty;
  std::filesystem::create_directories(empty.path() / "sub");
  EXPECT_THAT(error_of([&] { mnist_images(empty.path() / "sub"); }), HasSubstr("expected files"));
}

}  // namespace
}  // namespace tessera::datasets
