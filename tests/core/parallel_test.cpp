#include "core/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"

namespace tessera {
namespace {

class Parallel : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    before_ = num_threads();
    set_num_threads(GetParam());
  }
  void TearDown() override { set_num_threads(before_); }

 private:
  int before_ = 1;
};

TEST_P(Parallel, EveryPartRunsOnce) {
  for (int64_t parts : {0, 1, 2, 3, 7, 100}) {
    std::vector<std::atomic<int>> seen(parts);
    parallel_parts(parts, [&](int64_t p) { ++seen[p]; });
    for (const auto& s : seen) EXPECT_EQ(s, 1);
  }
}

TEST_P(Parallel, RangesCoverEverythingOnce) {
  for (int64_t n : {0, 1, 5, 64, 1000})
    for (int64_t grain : {0, 1, 10, 5000}) {
      std::vector<std::atomic<int>> seen(n);
      std::atomic<int> calls = 0;
      parallel_for(n, grain, [&](int64_t begin, int64_t end) {
        ++calls;
        EXPECT_LT(begin, end);
        EXPECT_GE(end - begin, std::min(n, grain));
        for (int64_t i = begin; i < end; ++i) ++seen[i];
      });
      for (const auto& s : seen) EXPECT_EQ(s, 1);
      EXPECT_LE(calls, GetParam());
    }
}

TEST_P(Parallel, SmallWorkStaysOnTheCallingThread) {
  const auto me = std::this_thread::get_id();
  parallel_for(10, 10, [&](int64_t, int64_t) { EXPECT_EQ(std::this_thread::get_id(), me); });
}

TEST_P(Parallel, TheFirstExceptionArrives) {
  std::atomic<int> ran = 0;
  try {
    parallel_parts(16, [&](int64_t p) {
      ++ran;
      if (p == 5 || p == 11) throw Error(std::to_string(p));
    });
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "5");
  }
  EXPECT_EQ(ran, 16);
}

TEST_P(Parallel, NestedCallsRunInline) {
  std::atomic<int> sum = 0;
  parallel_parts(4, [&](int64_t) {
    const auto me = std::this_thread::get_id();
    parallel_parts(8, [&](int64_t p) {
      EXPECT_TRUE(GetParam() == 1 || std::this_thread::get_id() == me);
      sum += static_cast<int>(p);
    });
  });
  EXPECT_EQ(sum, 4 * 28);
}

TEST_P(Parallel, SeveralCallersAtOnce) {
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum = 0;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) parallel_parts(5, [&](int64_t p) { sum += p; });
    });
  for (std::thread& c : callers) c.join();
  EXPECT_EQ(sum, 4 * 50 * 10);
}

// A caller does not wait for the job of another, nor does it lose its workers to it.
TEST_P(Parallel, JobsOfSeveralCallersRunSideBySide) {
  if (GetParam() < 2) GTEST_SKIP() << "one thread has no workers";
  const auto until = [](std::atomic<int>& value, int wanted) {
    for (int i = 0; i < 5000 && value < wanted; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return value >= wanted;
  };
  std::atomic<int> first = 0, second = 0, met = 0;
  std::thread other([&] {
    parallel_parts(2, [&](int64_t) {
      ++first;
      until(second, 2);
    });
  });
  EXPECT_TRUE(until(first, 2));
  parallel_parts(2, [&](int64_t) {  // each part waits for the other
    ++second;
    met += until(second, 2);
  });
  other.join();
  EXPECT_EQ(met, 2);
}

INSTANTIATE_TEST_SUITE_P(Threads, Parallel, ::testing::Values(1, 2, 3, 8));

TEST(ParallelSettings, ThreadCountIsChecked) {
  EXPECT_THROW(set_num_threads(0), Error);
  EXPECT_THROW(set_num_threads(kMaxThreads + 1), Error);
}

}  // namespace
}  // namespace tessera
