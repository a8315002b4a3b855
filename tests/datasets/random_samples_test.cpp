// Random samples of any fields: tokens within their vocabulary, padded boxes.
#include "datasets/random_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/error_of.h"

namespace tessera::datasets {
namespace {

using tessera::testing::error_of;

const std::vector<Field> kBoxes = {{"image", DType::f32, {3, 4, 4}},
                                   {"tokens", DType::s32, {6}, 11},
                                   {"scores", DType::f32, {3}, 0, "count"},
                                   {"boxes", DType::f32, {5, 4}, 0, "count"},
                                   {"count", DType::s32, {}}};

TEST(RandomSamples, LieWhereTheirFieldsSay) {
  const RandomSamples source("random", kBoxes, 200);
  TensorMap all = batch_of(source.fields(), 200);
  source.fill(0, 0, all);
  const auto tokens = all.at("tokens").span<std::int32_t>();
  EXPECT_EQ(*std::min_element(tokens.begin(), tokens.end()), 0);
  EXPECT_EQ(*std::max_element(tokens.begin(), tokens.end()), 10);
  const auto counts = all.at("count").span<std::int32_t>();
  EXPECT_EQ(*std::min_element(counts.begin(), counts.end()), 0);
  EXPECT_EQ(*std::max_element(counts.begin(), counts.end()), 3);  // what all of them can hold
  const auto boxes = all.at("boxes").span<float>(), scores = all.at("scores").span<float>();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto n = static_cast<std::size_t>(counts[i]);
    for (std::size_t row = 0; row < 5; ++row)
      EXPECT_EQ(boxes[20 * i + 4 * row] == 0, row >= n) << i << " " << row;
    for (std::size_t row = 0; row < 3; ++row) EXPECT_EQ(scores[3 * i + row] == 0, row >= n) << i;
  }
  // Parts of it, and some of the fields, are the same samples.
  TensorMap some = {{"tokens", Tensor(DType::s32, {7, 6})}, {"index", Tensor(DType::s32, {7})}};
  source.fill(3, 50, some);
  EXPECT_TRUE(equal_bits(some.at("tokens"), all.at("tokens").slice(50, 57)));
  EXPECT_EQ(some.at("index").span<std::int32_t>()[6], 56);
}

TEST(RandomSamples, RefusesWhatCannotBeDrawn) {
  const auto refused = [](std::vector<Field> fields) {
    return error_of([&] { RandomSamples("random", std::move(fields), 4); });
  };
  EXPECT_NE(refused({{"x", DType::u8, {2}}}).find("of f32 or s32, got x u8[2]"), std::string::npos);
  EXPECT_NE(refused({{"b", DType::f32, {5, 4}, 0, "n"}}).find("counted by 'n'"), std::string::npos);
  EXPECT_NE(refused({{"b", DType::f32, {5}, 0, "n"}, {"n", DType::s32, {2}}}).find("expected"),
            std::string::npos);
  EXPECT_NE(error_of([] { RandomSamples("random", kBoxes, 0); }).find("at least one"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::datasets
