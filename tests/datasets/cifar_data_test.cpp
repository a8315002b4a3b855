// The real CIFAR-10; counts, mean and standard deviation as published.
#include <gtest/gtest.h>

#include <array>

#include "datasets/cifar.h"
#include "datasets/preprocess.h"
#include "tests/data_dir.h"

namespace tessera::datasets {
namespace {

std::array<int, 10> count(const Dataset& data, std::int64_t first = 0) {
  std::array<int, 10> out{};
  for (const std::int32_t label : data.labels.slice(first, data.size()).span<std::int32_t>()) {
    ++out[static_cast<std::size_t>(label)];
  }
  return out;
}

TEST(CifarData, CountsMeanAndDeviation) {
  const auto dir = testing::data_dir("cifar10");
  if (!dir) GTEST_SKIP() << "no cifar10 in TESSERA_DATA or ../shared/data";
  const Split split = cifar10(*dir, {.train = {1, 2, 3, 4, 5}, .test_images = 1000});
  EXPECT_EQ(split.train.images.text_type(), "u8[50000,3,32,32]");
  std::array<int, 10> even{};
  even.fill(5000);
  EXPECT_EQ(count(split.train), even);
  EXPECT_EQ(count(split.test),
            (std::array<int, 10>{103, 89, 100, 103, 90, 86, 112, 102, 106, 109}));
  const ChannelMoments moments = channel_moments(split.train);
  const std::array<double, 3> mean = {0.49139968, 0.48215841, 0.44653091};
  const std::array<double, 3> std = {0.24703223, 0.24348513, 0.26158784};
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(static_cast<double>(moments.mean[c]), mean[c], 6e-8);
    EXPECT_NEAR(static_cast<double>(moments.std[c]), std[c], 6e-8);
  }
}

TEST(CifarData, HoldoutIsTheDefaultWithoutTheWholeTestBatch) {
  const auto dir = testing::data_dir("cifar10");
  if (!dir) GTEST_SKIP() << "no cifar10 in TESSERA_DATA or ../shared/data";
  if (std::filesystem::exists(*dir / "cifar-10-batches-bin" / "test_batch.bin")) GTEST_SKIP();
  const Split split = cifar10(dir->parent_path());
  EXPECT_EQ(split.train.size(), 40000);
  EXPECT_EQ(split.test.size(), 11000);
  EXPECT_EQ(split.test.name, "cifar10/test (batch 5 and the first 1000 test images)");
  EXPECT_EQ(count(split.test, 10000),
            (std::array<int, 10>{103, 89, 100, 103, 90, 86, 112, 102, 106, 109}));
}

}  // namespace
}  // namespace tessera::datasets
