#include "datasets/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>
#include <thread>
#include <vector>

#include "core/parallel.h"
#include "datasets/synthetic_digits.h"
#include "tests/datasets/temp_dir.h"
#include "tests/fill_xy.h"

namespace tessera::datasets {
namespace {

using tessera::testing::classes_of;
using tessera::testing::fill_xy;
using tessera::testing::sample_of;
using ::testing::HasSubstr;

Dataset digits(std::int64_t n) {
  return synthetic_digits({.train = n, .test = 1}).train;
}

TEST(EpochOrder, IsAPermutationThatDiffersByEpochAndSeed) {
  for (const std::int64_t n : {0, 1, 2, 3, 1000}) {
    auto order = epoch_order(n, 7, 0);
    std::sort(order.begin(), order.end());
    std::vector<std::int32_t> all(static_cast<std::size_t>(n));
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all);
  }
  const auto order = epoch_order(1000, 7, 0);
  EXPECT_EQ(order, epoch_order(1000, 7, 0));
  EXPECT_NE(order, epoch_order(1000, 7, 1));
  EXPECT_NE(order, epoch_order(1000, 8, 0));
  // About one fixed point is expected of a random permutation.
  int fixed = 0;
  for (std::size_t i = 0; i < order.size(); ++i) fixed += order[i] == static_cast<int>(i);
  EXPECT_LT(fixed, 10);
}

TEST(EpochOrder, EveryPlaceIsEquallyLikely) {
  std::array<std::array<int, 4>, 4> seen{};
  for (int epoch = 0; epoch < 4000; ++epoch) {
    const auto order = epoch_order(4, 1, epoch);
    for (std::size_t i = 0; i < 4; ++i) ++seen[i][static_cast<std::size_t>(order[i])];
  }
  for (const auto& row : seen) {
    for (const int n : row) EXPECT_NEAR(n, 1000, 140);  // five standard deviations
  }
}

TEST(PreprocessTest, UnitAndStandard) {
  const auto images = Tensor::from<std::uint8_t>({0, 51, 255, 128}, {1, 2, 2});
  const Tensor unit = Preprocess::unit(4).apply(images);
  EXPECT_EQ(unit.text_type(), "f32[1,4]");
  EXPECT_NEAR(unit.span<float>()[1], 0.2f, 1e-7f);
  const float mean[] = {0.1307f}, std[] = {0.3081f};
  const Tensor y = Preprocess::standard(4, mean, std).apply(images);
  EXPECT_NEAR(y.span<float>()[0], (0 - 0.1307) / 0.3081, 1e-6);
  EXPECT_NEAR(y.span<float>()[2], (1 - 0.1307) / 0.3081, 1e-6);
  const float means[] = {0.0f, 0.5f}, stds[] = {1.0f, 0.5f};
  const Tensor c = Preprocess::standard(4, means, stds).apply(images);
  EXPECT_NEAR(c.span<float>()[1], 0.2f, 1e-6f);
  EXPECT_NEAR(c.span<float>()[2], 1.0f, 1e-6f);
}

TEST(PreprocessTest, MinusMeanIsThePixelMean) {
  const Dataset data = digits(101);
  const Preprocess p = Preprocess::minus_mean(data);
  const auto x = data.images.span<std::uint8_t>();
  for (std::size_t j = 0; j < 784; ++j) {
    double sum = 0;
    for (std::size_t i = 0; i < 101; ++i) sum += x[i * 784 + j];
    EXPECT_EQ(p.shift().span<float>()[j], static_cast<float>(sum / (255.0 * 101)));
  }
}

TEST(PreprocessTest, Errors) {
  const Tensor four = Tensor::full({4}, 1.0f);
  EXPECT_THAT(error_of([&] { Preprocess(four, Tensor::full({3}, 1.0f)); }),
              HasSubstr("one length"));
  EXPECT_THAT(error_of([&] { Preprocess(four, Tensor(DType::s32, {4})); }),
              HasSubstr("f32[pixels]"));
  EXPECT_THAT(error_of([&] { Preprocess(four, Tensor()); }), HasSubstr("undefined"));
  EXPECT_THAT(error_of([&] {
                Preprocess(four, Tensor::full({4}, std::numeric_limits<float>::quiet_NaN()));
              }),
              HasSubstr("finite"));
  const float one[] = {1.0f}, zero[] = {0.0f};
  EXPECT_THAT(error_of([&] { Preprocess::standard(4, one, zero); }), HasSubstr("positive"));
  EXPECT_THAT(error_of([&] { Preprocess::standard(4, one, {}); }), HasSubstr("as many means"));
  const Preprocess p(four, four);
  const Tensor images(DType::u8, {2, 2, 2});
  std::vector<float> out(8);
  const std::int32_t rows[] = {0, 2};
  EXPECT_THAT(error_of([&] { p.gather(images, rows, out); }), HasSubstr("in [0, 2), got 2"));
  EXPECT_THAT(error_of([&] { p.gather(images, rows, std::span(out).first(7)); }),
              HasSubstr("room"));
  EXPECT_THAT(error_of([&] {
                p.gather(Tensor(DType::u8, {2, 5}), rows, out);
              }),
              HasSubstr("images of 4 values each, got u8[2,5]"));
}

TEST(BatchesTest, GatherEqualsAPlainLoopForAnyThreadCount) {
  const Dataset data = digits(300);
  const Preprocess p = Preprocess::minus_mean(data);
  const auto x = data.images.span<std::uint8_t>();
  const auto scale = p.scale().span<float>(), shift = p.shift().span<float>();
  const int threads = num_threads();
  for (const int n : {1, 2, 3, 8}) {
    set_num_threads(n);
    Batches batches(data, p, {.batch = 128, .seed = 3});
    const auto order = epoch_order(300, 3, 0);
    std::size_t at = 0;
    while (batches.epoch() == 0) {
      const Batch& batch = batches.next();
      for (std::size_t i = 0; i < static_cast<std::size_t>(batch.size()); ++i, ++at) {
        const auto row = static_cast<std::size_t>(order[at]);
        ASSERT_EQ(batch.indices.span<std::int32_t>()[i], order[at]);
        ASSERT_EQ(batch.labels.span<std::int32_t>()[i], data.labels.span<std::int32_t>()[row]);
        for (std::size_t j = 0; j < 784; ++j) {
          volatile float product = static_cast<float>(x[row * 784 + j]) * scale[j];
          const float expected = product - shift[j];
          ASSERT_EQ(std::memcmp(&batch.images.span<float>()[i * 784 + j], &expected, 4), 0);
        }
      }
    }
    EXPECT_EQ(at, 300u);
  }
  set_num_threads(threads);
}

TEST(BatchesTest, LastBatchIsKeptOrDropped) {
  const Dataset data = digits(10);
  Batches keep(data, Preprocess::unit(784), {.batch = 4});
  EXPECT_EQ(keep.steps(), 3);
  EXPECT_EQ(keep.next().size(), 4);
  EXPECT_EQ(keep.next().size(), 4);
  EXPECT_EQ(keep.next().size(), 2);
  EXPECT_EQ(keep.epoch(), 1);
  EXPECT_EQ(keep.next().images.text_type(), "f32[4,784]");
  Batches drop(data, Preprocess::unit(784), {.batch = 4, .drop_last = true});
  EXPECT_EQ(drop.steps(), 2);
  drop.seek(0, 2);
  EXPECT_EQ(drop.epoch(), 1);
  EXPECT_EQ(drop.next().size(), 4);
  Batches large(data, Preprocess::unit(784), {.batch = 64});
  EXPECT_EQ(large.steps(), 1);
  EXPECT_EQ(large.next().size(), 10);
}

TEST(BatchesTest, WithoutShuffleEveryEpochIsInOrder) {
  Batches batches(digits(5), Preprocess::unit(784), {.batch = 5, .shuffle = false});
  for (int epoch = 0; epoch < 2; ++epoch) {
    EXPECT_EQ(batches.next().indices.to_vector<std::int32_t>(),
              (std::vector<std::int32_t>{0, 1, 2, 3, 4}));
  }
}

TEST(BatchesTest, ResumesAtAnyPositionWithTheSameBits) {
  const Dataset data = digits(50);
  Batches whole(data, Preprocess::unit(784), {.batch = 16, .seed = 9});
  for (int i = 0; i < 4 * 3 + 2; ++i) whole.next();
  EXPECT_EQ(whole.epoch(), 3);
  EXPECT_EQ(whole.step(), 2);
  Batches resumed(data, Preprocess::unit(784), {.batch = 16, .seed = 9});
  resumed.seek(3, 2);
  for (int i = 0; i < 5; ++i) {
    const Batch &a = whole.next(), &b = resumed.next();
    EXPECT_TRUE(equal_bits(a.images, b.images));
    EXPECT_TRUE(equal_bits(a.labels, b.labels));
    EXPECT_TRUE(equal_bits(a.indices, b.indices));
  }
  whole.seek(0, 0);
  resumed.seek(0, 0);
  EXPECT_TRUE(equal_bits(whole.next().images, resumed.next().images));
}

TEST(BatchesTest, FillsAnyRangeOfAnyEpoch) {
  const Dataset data = digits(10);
  Batches batches(data, Preprocess::unit(784), {.batch = 4, .sample = {1, 28, 28}});
  const BatchSource& source = batches;
  EXPECT_EQ(source.name(), "synthetic_digits/train");
  EXPECT_EQ(source.samples(), 10);
  EXPECT_EQ(classes_of(source), 10);
  EXPECT_EQ(sample_of(source), Shape({1, 28, 28}));
  EXPECT_EQ(batches.next().images.text_type(), "f32[4,1,28,28]");
  Tensor x(DType::f32, {3, 1, 28, 28}), y(DType::s32, {3});
  const Tensor all = Preprocess::unit(784).apply(data.images);
  for (const std::int64_t epoch : {5, -1, 0}) {
    std::vector<std::int32_t> order = epoch_order(10, 1, epoch);
    if (epoch < 0) std::iota(order.begin(), order.end(), 0);
    fill_xy(source, epoch, 7, x, y);
    for (std::size_t i = 0; i < 3; ++i) {
      const std::int32_t row = order[7 + i];
      const auto at = static_cast<std::int64_t>(i);
      EXPECT_EQ(y.span<std::int32_t>()[i], row);
      EXPECT_TRUE(equal_bits(x.slice(at, at + 1).reshape({1, 784}), all.slice(row, row + 1)));
    }
  }
  EXPECT_THAT(error_of([&] { fill_xy(source, 0, 8, x, y); }), HasSubstr("samples 8 to 11"));
  EXPECT_THAT(error_of([&] { fill_xy(source, 0, -1, x, y); }), HasSubstr("samples -1"));
  EXPECT_THAT(error_of([&] { fill_xy(source, -2, 0, x, y); }), HasSubstr("got epoch -2"));
  Tensor two(DType::s32, {2});
  EXPECT_THAT(error_of([&] { fill_xy(source, 0, 0, x, two); }),
              HasSubstr("'y' has 2 samples, another field 3"));
}

TEST(BatchesTest, FillsFromSeveralThreads) {
  const Dataset data = digits(64);
  const Batches batches(data, Preprocess::unit(784));
  std::vector<std::thread> threads;
  std::array<int, 4> wrong{};
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      Tensor x(DType::f32, {8, 784}), y(DType::s32, {8});
      for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
        fill_xy(batches, epoch, 8, x, y);
        const auto order = epoch_order(64, 1, epoch);
        for (std::size_t i = 0; i < 8; ++i)
          wrong[t] += y.span<std::int32_t>()[i] != order[8 + i] % 10;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, (std::array<int, 4>{}));
}

TEST(BatchesTest, Errors) {
  const Dataset data = digits(6);
  const Preprocess p = Preprocess::unit(784);
  EXPECT_THAT(error_of([&] { Batches(data, Preprocess::unit(7)); }),
              HasSubstr("images have 784 values, the preprocessing has 7"));
  EXPECT_THAT(error_of([&] { Batches(data, p, {.batch = 0}); }), HasSubstr("at least 1, got 0"));
  EXPECT_THAT(error_of([&] { Batches(data, p, {.batch = 7, .drop_last = true}); }),
              HasSubstr("leaves nothing of 6"));
  EXPECT_THAT(error_of([&] { Batches(Dataset{"none", {}, {}, 10}, p); }), HasSubstr("none"));
  EXPECT_THAT(error_of([&] {
                Batches(data, p, {.sample = {3, 28}});
              }),
              HasSubstr("sample shape of 784 values, got [3,28]"));
  Batches batches(data, p, {.batch = 2});
  EXPECT_THAT(error_of([&] { batches.seek(0, 4); }), HasSubstr("step of 0 to 3"));
  EXPECT_THAT(error_of([&] { batches.seek(-1, 0); }), HasSubstr("epoch >= 0"));
}

}  // namespace
}  // namespace tessera::datasets
