// The real MNIST; counts, mean and standard deviation as published.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "datasets/batches.h"
#include "datasets/mnist.h"
#include "datasets/preprocess.h"
#include "tests/data_dir.h"

namespace tessera::datasets {
namespace {

class MnistData : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto dir = testing::data_dir("mnist");
    if (!dir) GTEST_SKIP() << "no mnist in TESSERA_DATA or ../shared/data";
    split_ = mnist(*dir);
  }
  Split split_;
};

std::array<int, 10> count(const Dataset& data) {
  std::array<int, 10> out{};
  for (const std::int32_t label : data.labels.span<std::int32_t>()) {
    ++out[static_cast<std::size_t>(label)];
  }
  return out;
}

TEST_F(MnistData, CountsPerClass) {
  EXPECT_EQ(split_.train.images.text_type(), "u8[60000,28,28]");
  EXPECT_EQ(split_.test.images.text_type(), "u8[10000,28,28]");
  EXPECT_EQ(count(split_.train),
            (std::array<int, 10>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}));
  EXPECT_EQ(count(split_.test),
            (std::array<int, 10>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}));
}

TEST_F(MnistData, MeanAndDeviation) {
  double sum = 0, squares = 0;
  for (const std::uint8_t v : split_.train.images.span<std::uint8_t>()) {
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  const double n = 255.0 * 60000 * 784, mean = sum / n;
  EXPECT_NEAR(mean, 0.130660, 5e-7);
  EXPECT_NEAR(std::sqrt(squares / (255.0 * n) - mean * mean), 0.308108, 5e-7);
}

TEST_F(MnistData, NormalizedEpoch) {
  Batches batches(split_.train, Preprocess::minus_mean(split_.train), {.batch = 256});
  EXPECT_EQ(batches.steps(), 235);
  std::vector<double> sums(784);
  while (batches.epoch() == 0) {
    const Batch& batch = batches.next();
    const auto values = batch.images.span<float>();
    for (std::size_t i = 0; i < values.size(); ++i) sums[i % 784] += static_cast<double>(values[i]);
  }
  for (const double sum : sums) EXPECT_NEAR(sum / 60000, 0, 1e-6);
}

}  // namespace
}  // namespace tessera::datasets
