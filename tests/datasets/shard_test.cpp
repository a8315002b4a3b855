#include "datasets/shard.h"

#include <gtest/gtest.h>

#include "tests/error_of.h"

namespace tessera::datasets {
namespace {

using tessera::testing::error_of;

// Sample i of an epoch is the number 1000 epoch + i.
class Numbers final : public BatchSource {
 public:
  explicit Numbers(std::int64_t samples, std::int64_t lanes = 0)
      : samples_(samples), lanes_(lanes) {}
  std::string name() const override { return "numbers"; }
  std::int64_t samples() const override { return samples_; }
  std::int64_t lanes() const override { return lanes_; }
  std::vector<Field> fields() const override { return {{"x", DType::s32}}; }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    const auto x = batch.at("x").span<std::int32_t>();
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = static_cast<std::int32_t>(1000 * epoch + first + static_cast<std::int64_t>(i));
  }

 private:
  std::int64_t samples_, lanes_;
};

std::vector<std::int32_t> filled(const BatchSource& source, std::int64_t epoch, std::int64_t first,
                                 std::int64_t n) {
  TensorMap batch = batch_of(source.fields(), n);
  source.fill(epoch, first, batch);
  return batch.at("x").to_vector<std::int32_t>();
}

TEST(Shard, RanksTogetherSeeTheJointBatches) {
  const auto all = std::make_shared<Numbers>(32);
  constexpr std::int64_t kRanks = 3, kBatch = 4;  // 32 = 3 * 10 + 2: the last two are left out
  std::vector<Shard> shards;
  for (std::int64_t rank = 0; rank < kRanks; ++rank) shards.emplace_back(all, rank, kRanks);
  EXPECT_EQ(shards[0].samples(), 10);
  for (const std::int64_t epoch : {0, 2}) {
    std::vector<std::int32_t> seen;
    for (std::int64_t first = 0; first < 10; first += kBatch) {
      const std::int64_t n = std::min<std::int64_t>(kBatch, 10 - first);
      for (const Shard& shard : shards) {
        const auto part = filled(shard, epoch, first, n);
        seen.insert(seen.end(), part.begin(), part.end());
      }
    }
    EXPECT_EQ(seen, filled(*all, epoch, 0, 30));
  }
  EXPECT_EQ(filled(Shard(all, 0, 1), 1, 5, 7), filled(*all, 1, 5, 7));
}

TEST(Shard, StreamsStayWhole) {
  // 6 streams of 4 pieces; sample 6 k + s is piece k of stream s.
  const auto all = std::make_shared<Numbers>(24, 6);
  const Shard second(all, 1, 2);
  EXPECT_EQ(second.lanes(), 3);
  for (std::int64_t piece = 0; piece < 4; ++piece) {
    const auto at = static_cast<std::int32_t>(6 * piece);
    EXPECT_EQ(filled(second, 0, 3 * piece, 3), (std::vector<std::int32_t>{at + 3, at + 4, at + 5}));
  }
  EXPECT_EQ(error_of([&] { Shard(all, 0, 4); }),
            "numbers has 6 streams, which 4 ranks cannot divide evenly");
}

TEST(Shard, RefusesRanksThatThereAreNot) {
  const auto all = std::make_shared<Numbers>(3);
  EXPECT_EQ(error_of([&] { Shard(all, 2, 2); }), "expected a rank in [0, 2), got 2");
  EXPECT_EQ(error_of([&] { Shard(all, 0, 4); }), "numbers has 3 samples for 4 ranks");
  EXPECT_EQ(error_of([&] { filled(Shard(all, 0, 2), 0, 1, 1); }),
            "numbers: samples 1 to 2 of a shard of 1");
}

}  // namespace
}  // namespace tessera::datasets
