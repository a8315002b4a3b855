#include "datasets/prefetch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "datasets/batches.h"
#include "datasets/synthetic_digits.h"
#include "tests/datasets/temp_dir.h"
#include "tests/fill_xy.h"

namespace tessera::datasets {
namespace {

using tessera::testing::classes_of;
using tessera::testing::fill_xy;
using tessera::testing::sample_of;
using ::testing::HasSubstr;

// Sample i of epoch e is {e, i}; takes its time, and fails where it is told to.
class SlowSource final : public BatchSource {
 public:
  explicit SlowSource(int milliseconds = 0) : milliseconds_(milliseconds) {}
  std::string name() const override { return "slow"; }
  std::int64_t samples() const override { return 10; }
  std::vector<Field> fields() const override {
    return {{"x", DType::f32, {2}}, {"y", DType::s32, {}, 10}};
  }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    most_at_once = std::max(most_at_once.load(), ++at_once_);
    ++fills;
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds_));
    const std::int64_t n = batch_size(batch, fields(), name());
    --at_once_;
    check(first >= 0 && first + n <= samples(), "[slow] range ", first, " to ", first + n);
    check(!(epoch == fail_epoch && first == fail_first), "[slow] fails at ", first);
    for (std::int64_t i = 0; i < n; ++i) {
      if (batch.contains("x")) {
        const auto x = batch.at("x").span<float>();
        x[static_cast<std::size_t>(2 * i)] = static_cast<float>(epoch);
        x[static_cast<std::size_t>(2 * i + 1)] = static_cast<float>(first + i);
      }
      if (batch.contains("y")) {
        batch.at("y").span<std::int32_t>()[static_cast<std::size_t>(i)] =
            static_cast<std::int32_t>(first + i);
      }
    }
  }
  mutable std::atomic<int> fills = 0, most_at_once = 0;
  std::atomic<std::int64_t> fail_epoch = -2, fail_first = 0;

 private:
  int milliseconds_;
  mutable std::atomic<int> at_once_ = 0;
};

// Asks for a range and expects its samples.
void expect_range(const BatchSource& source, std::int64_t epoch, std::int64_t first,
                  std::int64_t n) {
  Tensor x = Tensor::full({n, 2}, -5.0f), y(DType::s32, {n});
  fill_xy(source, epoch, first, x, y);
  for (std::int64_t i = 0; i < n; ++i) {
    ASSERT_EQ(x.span<float>()[static_cast<std::size_t>(2 * i)], static_cast<float>(epoch));
    ASSERT_EQ(x.span<float>()[static_cast<std::size_t>(2 * i + 1)], static_cast<float>(first + i));
    ASSERT_EQ(y.span<std::int32_t>()[static_cast<std::size_t>(i)], first + i);
  }
}

void walk(const BatchSource& source, std::int64_t epoch, std::int64_t first = 0) {
  for (; first < 10; first += 4)
    expect_range(source, epoch, first, std::min<std::int64_t>(4, 10 - first));
}

TEST(PrefetchTest, GivesTheBytesOfItsSourceAheadOfTime) {
  const Dataset data = synthetic_digits({.train = 70, .test = 1}).train;
  const auto source = std::make_shared<Batches>(
      data, Preprocess::unit(784),
      BatchOptions{.sample = {1, 28, 28}, .augment = {.pad = 2, .flip = 0.5}});
  for (const PrefetchOptions& options : {PrefetchOptions{1, 1}, {2, 1}, {3, 3}}) {
    const Prefetch ahead(source, options);
    EXPECT_EQ(ahead.name(), source->name());
    EXPECT_EQ(ahead.samples(), 70);
    EXPECT_EQ(classes_of(ahead), 10);
    EXPECT_EQ(sample_of(ahead), Shape({1, 28, 28}));
    for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
      for (std::int64_t first = 0; first < 70; first += 16) {
        const std::int64_t n = std::min<std::int64_t>(16, 70 - first);
        Tensor x(DType::f32, {n, 1, 28, 28}), y(DType::s32, {n}), x2 = x.clone(), y2 = y.clone();
        fill_xy(ahead, epoch, first, x, y);
        fill_xy(*source, epoch, first, x2, y2);
        ASSERT_TRUE(equal_bits(x, x2));
        ASSERT_TRUE(equal_bits(y, y2));
      }
    }
    EXPECT_EQ(ahead.counts().fills, 20);
    EXPECT_EQ(ahead.counts().direct, 1);
  }
}

TEST(PrefetchTest, ASlowStepHidesASlowSource) {
  const auto source = std::make_shared<SlowSource>(5);
  const Prefetch ahead(source);
  expect_range(ahead, 0, 0, 2);
  for (std::int64_t first = 2; first < 10; first += 2) {
    while (source->fills < 2 + first / 2) std::this_thread::yield();  // a step that takes long
    expect_range(ahead, 0, first, 2);
  }
  EXPECT_EQ(ahead.counts().direct, 1);
  EXPECT_GE(ahead.counts().direct_us, 5000);
  EXPECT_EQ(ahead.counts().waits, 0);
}

TEST(PrefetchTest, CountsTheWaitsOfAFastStep) {
  const auto source = std::make_shared<SlowSource>(40);
  const Prefetch ahead(source);
  walk(ahead, 0);
  const PrefetchCounts counts = ahead.counts();
  EXPECT_EQ(counts.fills, 3);
  EXPECT_EQ(counts.direct, 1);
  EXPECT_GE(counts.waits, 1);
  EXPECT_GE(counts.wait_us, 5000);
}

// Each rank has its part of every batch, and of the samples that are left at the end of an epoch:
// the first two batches tell how far apart they are.
TEST(PrefetchTest, RanksHaveTheirRowsOfEveryBatch) {
  for (std::int64_t rank = 0; rank < 3; ++rank) {
    const Prefetch thirds(std::make_shared<SlowSource>(0)), halves(std::make_shared<SlowSource>(0));
    for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
      for (const std::int64_t first : {0, 3, 6}) expect_range(thirds, epoch, first + rank, 1);
      if (rank == 2) continue;
      for (const std::int64_t first : {0, 4}) expect_range(halves, epoch, first + 2 * rank, 2);
      expect_range(halves, epoch, 8 + rank, 1);
    }
    EXPECT_EQ(thirds.counts().direct, 2) << rank;
    if (rank < 2) EXPECT_EQ(halves.counts().direct, 2) << rank;
  }
}

TEST(PrefetchTest, SeeksGoToTheSourceAndStartAnew) {
  const auto source = std::make_shared<SlowSource>(1);
  const Prefetch ahead(source);
  walk(ahead, 0);
  walk(ahead, 1);
  EXPECT_EQ(ahead.counts().direct, 1);
  walk(ahead, -1);  // an evaluation between epochs
  walk(ahead, 2);
  EXPECT_EQ(ahead.counts().direct, 3);
  walk(ahead, 7, 4);  // a resume
  walk(ahead, 8);
  EXPECT_EQ(ahead.counts().direct, 4);
  expect_range(ahead, 8, 0, 10);  // another size, again and again
  expect_range(ahead, 8, 0, 3);
  expect_range(ahead, 8, 3, 5);
  expect_range(ahead, 8, 8, 2);
  EXPECT_EQ(ahead.counts().direct, 7);
  walk(ahead, 0);
  EXPECT_EQ(source->most_at_once, 1);
}

TEST(PrefetchTest, ErrorsAreThrownByTheFillThatMeetsThem) {
  const auto source = std::make_shared<SlowSource>();
  source->fail_epoch = 0;
  source->fail_first = 8;
  for (const int workers : {1, 3}) {
    const Prefetch ahead(source, {3, workers});
    expect_range(ahead, 0, 0, 4);
    expect_range(ahead, 0, 4, 4);
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(error_of([&] { expect_range(ahead, 0, 8, 2); }), HasSubstr("fails at 8"));
    }
    walk(ahead, 1);
    EXPECT_THAT(error_of([&] { expect_range(ahead, 2, 9, 2); }), HasSubstr("range 9 to 11"));
    walk(ahead, 2);
  }
}

TEST(PrefetchTest, EndsWhileBatchesAreBeingMade) {
  const auto source = std::make_shared<SlowSource>(2);
  for (int fills = 0; fills < 4; ++fills) {
    const Prefetch ahead(source, {3, 2});
    for (int i = 0; i < fills; ++i) expect_range(ahead, 0, 2 * i, 2);
  }
  source->fail_epoch = 0;
  source->fail_first = 2;
  const Prefetch ahead(source);
  expect_range(ahead, 0, 0, 2);  // and nobody asks for the one that fails
}

TEST(PrefetchTest, CallersTakeTurns) {
  const Prefetch ahead(std::make_shared<SlowSource>());
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int epoch = 0; epoch < 30; ++epoch) walk(ahead, epoch);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(ahead.counts().fills, 270);
}

// Other fields of the range that is ready: made anew, and foreseen from then on.
TEST(PrefetchTest, OtherFieldsAreAnotherRequest) {
  const Prefetch ahead(std::make_shared<SlowSource>());
  expect_range(ahead, 0, 0, 2);
  TensorMap labels = {{"y", Tensor(DType::s32, {2})}};
  for (const std::int64_t first : {2, 4, 6}) {
    ahead.fill(0, first, labels);
    EXPECT_EQ(labels.at("y").to_vector<std::int32_t>(),
              (std::vector<std::int32_t>{static_cast<std::int32_t>(first),
                                         static_cast<std::int32_t>(first + 1)}));
  }
  EXPECT_EQ(ahead.counts().direct, 2);
  expect_range(ahead, 0, 8, 2);
  EXPECT_EQ(ahead.counts().direct, 3);
}

TEST(PrefetchTest, WrongTensorsAndOptions) {
  const auto source = std::make_shared<SlowSource>();
  EXPECT_THAT(error_of([&] { Prefetch(source, {0, 1}); }), HasSubstr("got 0 and 1"));
  EXPECT_THAT(error_of([&] { Prefetch(source, {1, 0}); }), HasSubstr("got 1 and 0"));
  EXPECT_THAT(error_of([&] { Prefetch(nullptr); }), HasSubstr("expected a source"));
  const Prefetch ahead(source);
  Tensor x(DType::u8, {2, 2}), y(DType::s32, {2});
  EXPECT_THAT(error_of([&] { fill_xy(ahead, 0, 0, x, y); }), HasSubstr("f32"));
}

}  // namespace
}  // namespace tessera::datasets
