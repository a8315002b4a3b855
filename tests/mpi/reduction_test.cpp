// The mean over ranks: what it is, as what it travels, and that nothing is lost for ever.
#include "ops/communication/reduction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "core/dtype.h"
#include "core/rng.h"
#include "tests/error_of.h"
#include "tests/mpi/thread_ranks.h"

namespace tessera {
namespace {

using testing::error_of;
using testing::on_ranks;

std::vector<float> numbers(std::int64_t n, std::uint64_t seed) {
  Rng rng(5, seed);
  std::vector<float> out;
  for (std::int64_t i = 0; i < n; ++i) out.push_back(rng.normal());
  return out;
}

// What each rank gets when rank r gives numbers(n, r).
std::vector<std::vector<float>> means(int ranks, std::vector<std::int64_t> sizes, int slow = 0) {
  std::vector<std::vector<float>> out(static_cast<std::size_t>(ranks));
  on_ranks(
      ranks,
      [&](Communicator& rank) {
        Reduction bucket(rank, sizes, {}, std::vector<bool>(sizes.size()));
        std::vector<float> all = numbers(bucket.total(), static_cast<std::uint64_t>(rank.rank()));
        std::vector<float*> tensors;
        std::int64_t at = 0;
        for (const std::int64_t n : sizes) tensors.push_back(all.data() + at), at += n;
        bucket.start(std::vector<const float*>(tensors.begin(), tensors.end()));
        bucket.finish(tensors, nullptr);
        out[static_cast<std::size_t>(rank.rank())] = all;
      },
      slow);
  return out;
}

TEST(Reduction, IsTheMeanInTheOrderOfTheRanks) {
  for (const int ranks : {2, 3, 5}) {
    const auto got = means(ranks, {70, 1, 300});
    std::vector<float> want(371, 0.0f);
    for (int r = 0; r < ranks; ++r) {
      const auto own = numbers(371, static_cast<std::uint64_t>(r));
      for (std::size_t i = 0; i < want.size(); ++i) want[i] += own[i];
    }
    for (float& v : want) v *= 1.0f / static_cast<float>(ranks);
    for (const auto& one : got) EXPECT_EQ(one, want) << ranks << " ranks";
  }
}

TEST(Reduction, DoesNotDependOnWhenMessagesArrive) {
  EXPECT_EQ(means(4, {1000}), means(4, {1000}, 40));
}

TEST(Reduction, SmallBucketsReachEveryRank) {
  for (const auto& one : means(5, {3})) EXPECT_EQ(one, means(5, {3})[0]);
}

TEST(Reduction, EachRankSendsTwiceItsShareOfTheBucket) {
  on_ranks(4, [](Communicator& rank) {
    Reduction bucket(rank, {4096}, {}, {false});
    std::vector<float> all(4096, 1.0f);
    float* tensor[] = {all.data()};
    const float* given[] = {all.data()};
    bucket.start(given);
    bucket.finish(tensor, nullptr);
    EXPECT_EQ(rank.traffic().bytes, 2 * 3 * 4096 * 4 / 4);
    EXPECT_EQ(rank.traffic().messages, 6);
  });
}

const std::string kCodes[] = {"bf16", "codebook:2", "codebook:4", "codebook:16", "codebook:256"};

TEST(GradientCode, ReadsBackWhatItWrites) {
  for (const std::string& text : kCodes) EXPECT_EQ(GradientCode::parse(text).text(), text);
  EXPECT_EQ(error_of([] { GradientCode::parse("codebook:3"); }),
            "gradients travel as f32, bf16, codebook:2, codebook:4, codebook:16 or codebook:256, "
            "got 'codebook:3'");
}

TEST(GradientCode, LosesTheLessTheMoreItWrites) {
  const std::vector<float> values = numbers(20001, 1);
  double before = 1;
  for (const char* text : {"codebook:2", "codebook:4", "codebook:16", "codebook:256"}) {
    const GradientCode code = GradientCode::parse(text);
    std::vector<std::byte> bytes(static_cast<std::size_t>(code.bytes(20001)));
    code.encode(values, bytes.data());
    std::vector<float> back(values.size());
    code.decode(bytes.data(), back);
    double error = 0, square = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      error += std::pow(static_cast<double>(values[i]) - back[i], 2);
      square += std::pow(static_cast<double>(values[i]), 2);
    }
    EXPECT_LT(error / square, 0.4 * before) << text;
    before = error / square;
  }
  // The least that is possible for numbers of a normal distribution (Max 1960): 0.009497 of the
  // variance for 16 entries.
  EXPECT_LT(before, 1e-3);
}

// What is no number arrives as none, and nothing is read or written out of place.
TEST(GradientCode, NumbersThatAreNoneStaySo) {
  for (const char* text : {"codebook:2", "codebook:4", "codebook:16", "codebook:256"}) {
    const GradientCode code = GradientCode::parse(text);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      for (const std::size_t at : {0u, 4999u}) {
        std::vector<float> values(10000);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
        values[at] = bad;
        std::vector<std::byte> bytes(static_cast<std::size_t>(code.bytes(10000)));
        code.encode(values, bytes.data());
        code.decode(bytes.data(), values);
        EXPECT_TRUE(std::isnan(values[at])) << text << " " << bad;
      }
    }
  }
}

TEST(GradientCode, ACodebookIsNearTheBestOne) {
  const std::vector<float> values = numbers(100000, 2);
  const auto share = [&](const char* text) {
    const GradientCode code = GradientCode::parse(text);
    std::vector<std::byte> bytes(static_cast<std::size_t>(code.bytes(100000)));
    code.encode(values, bytes.data());
    std::vector<float> back(values.size());
    code.decode(bytes.data(), back);
    double error = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      error += std::pow(static_cast<double>(values[i]) - back[i], 2);
    return error / 100000;
  };
  EXPECT_NEAR(share("codebook:2"), 0.3634, 0.01);  // Max 1960, table I
  EXPECT_NEAR(share("codebook:4"), 0.1175, 0.01);
  EXPECT_NEAR(share("codebook:16"), 0.009497, 0.003);
}

TEST(GradientCode, WritesAsManyBytesAsItSays) {
  EXPECT_EQ(GradientCode::parse("f32").bytes(1000), 4000);
  EXPECT_EQ(GradientCode::parse("bf16").bytes(1000), 2000);
  EXPECT_EQ(GradientCode::parse("codebook:2").bytes(1000), 8 + 128);
  EXPECT_EQ(GradientCode::parse("codebook:16").bytes(1000), 64 + 500);
  EXPECT_EQ(GradientCode::parse("codebook:16").bytes(100), 400);  // too few for entries
}

// Ranks send the same values again and again. What each step's code loses arrives later: the mean
// of all steps comes to the mean of the values.
TEST(Reduction, WhatACodeLosesArrivesLater) {
  constexpr std::int64_t kNumbers = 6000;
  constexpr int kSteps = 200;
  for (const std::string& text : kCodes) {
    const GradientCode code = GradientCode::parse(text);
    on_ranks(3, [&](Communicator& rank) {
      const std::vector<float> own = numbers(kNumbers, static_cast<std::uint64_t>(rank.rank()));
      Reduction bucket(rank, {kNumbers, 2}, code, {false, true});
      std::vector<float> residual(kNumbers + 2), mean_residual(kNumbers + 2), got(kNumbers);
      std::vector<double> sum(kNumbers);
      const float exact[] = {0.1f, static_cast<float>(rank.rank())};
      float exact_got[2];
      std::vector<double> want(kNumbers);
      for (int r = 0; r < 3; ++r) {
        const auto values = numbers(kNumbers, static_cast<std::uint64_t>(r));
        for (std::size_t i = 0; i < want.size(); ++i) want[i] += static_cast<double>(values[i]) / 3;
      }
      const auto error_after = [&](int steps) {
        double error = 0;
        for (std::size_t i = 0; i < want.size(); ++i)
          error += std::pow(sum[i] / steps - want[i], 2);
        return error;
      };
      double first = 0;
      for (int step = 0; step < kSteps; ++step) {
        const float* given[] = {own.data(), exact};
        float* tensors[] = {got.data(), exact_got};
        bucket.start(given, residual.data(), mean_residual.data(), residual.data());
        bucket.finish(tensors, mean_residual.data());
        for (std::size_t i = 0; i < got.size(); ++i) sum[i] += static_cast<double>(got[i]);
        EXPECT_EQ(exact_got[1], 1.0f);
        EXPECT_NEAR(exact_got[0], 0.1f, 1e-7);
        if (step == 0) first = error_after(1);
      }
      EXPECT_LT(error_after(kSteps), 0.02 * first + 1e-9) << text;
    });
  }
}

TEST(Communicator, WhatOneRankMeetsTheOthersHear) {
  EXPECT_EQ(error_of([] {
              on_ranks(3, [](Communicator& rank) {
                if (rank.rank() == 2) fail("no disk");
                all_gather(rank, "here");
              });
            }),
            "no disk");
  std::mutex mutex;
  std::vector<std::string> heard;
  on_ranks(3, [&](Communicator& rank) {
    if (rank.rank() == 2) {
      rank.give_up("no disk");
      return;
    }
    const std::string what = error_of([&] { all_gather(rank, "here"); });
    const std::lock_guard lock(mutex);
    heard.push_back(what);
  });
  EXPECT_EQ(heard, (std::vector<std::string>(2, "rank 2: no disk")));
}

TEST(Communicator, DoesNotWaitForEver) {
  on_ranks(2, [](Communicator& rank) {
    if (rank.rank() == 1) return;
    rank.set_patience(0.05);
    Reduction bucket(rank, {100}, {}, {false});
    std::vector<float> all(100);
    const float* given[] = {all.data()};
    float* tensor[] = {all.data()};
    bucket.start(given);
    EXPECT_EQ(error_of([&] { bucket.finish(tensor, nullptr); }),
              "no answer from the other ranks for 0.05 seconds");
  });
}

TEST(Communicator, PartsCoverEverythingOnce) {
  for (const std::int64_t n : {0, 1, 31, 32, 33, 1000}) {
    for (const int ranks : {1, 2, 3, 7}) {
      std::int64_t at = 0;
      for (int r = 0; r < ranks; ++r) {
        const Range part = part_of(n, r, ranks, 32);
        EXPECT_EQ(part.begin, at);
        EXPECT_TRUE(part.begin % 32 == 0 || part.size() == 0);
        at = part.end;
      }
      EXPECT_EQ(at, n);
    }
  }
}

}  // namespace
}  // namespace tessera
