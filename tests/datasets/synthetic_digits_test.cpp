#include "datasets/synthetic_digits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

#include "core/parallel.h"
#include "datasets/digit_glyphs.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::datasets {
namespace {

TEST(SyntheticDigits, DefaultsAndBalance) {
  const Split split = synthetic_digits();
  EXPECT_EQ(split.train.images.text_type(), "u8[10000,28,28]");
  EXPECT_EQ(split.test.images.text_type(), "u8[2000,28,28]");
  EXPECT_EQ(split.train.labels.text_type(), "s32[10000]");
  for (const Dataset* data : {&split.train, &split.test}) {
    EXPECT_EQ(data->classes, 10);
    std::array<std::int64_t, 10> counts{};
    for (const auto label : data->labels.span<std::int32_t>()) {
      ++counts.at(static_cast<std::size_t>(label));
    }
    for (const auto count : counts) EXPECT_EQ(count, data->size() / 10);
  }
}

TEST(SyntheticDigits, SameSeedSameBitsForAnyThreadCount) {
  const int threads = num_threads();
  set_num_threads(1);
  const Split one = synthetic_digits({.train = 400, .test = 100, .seed = 5});
  set_num_threads(4);
  const Split four = synthetic_digits({.train = 400, .test = 100, .seed = 5});
  set_num_threads(threads);
  EXPECT_TRUE(equal_bits(one.train.images, four.train.images));
  EXPECT_TRUE(equal_bits(one.test.images, four.test.images));
  EXPECT_TRUE(equal_bits(one.test.labels, four.test.labels));
}

TEST(SyntheticDigits, SeedAndSplitChangeTheImagesAndSizeDoesNot) {
  const Split a = synthetic_digits({.train = 50, .test = 50, .seed = 1});
  const Split b = synthetic_digits({.train = 50, .test = 50, .seed = 2});
  const Split longer = synthetic_digits({.train = 80, .test = 50, .seed = 1});
  EXPECT_FALSE(equal_bits(a.train.images, b.train.images));
  EXPECT_FALSE(equal_bits(a.train.images, a.test.images));
  EXPECT_TRUE(equal_bits(a.train.images, longer.train.images.slice(0, 50)));
}

TEST(SyntheticDigits, EveryImageHoldsInkInsideItsFrame) {
  const Dataset data = synthetic_digits({.train = 2000, .test = 1}).train;
  std::set<std::vector<std::uint8_t>> different;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const auto pixels = data.images.slice(i, i + 1).to_vector<std::uint8_t>();
    int bright = 0, bright_border = 0;
    for (int at = 0; at < 784; ++at) {
      const bool border = at / 28 == 0 || at / 28 == 27 || at % 28 == 0 || at % 28 == 27;
      const bool ink = pixels[static_cast<std::size_t>(at)] > 90;
      bright += ink;
      bright_border += ink && border;
    }
    EXPECT_GT(bright, 10) << "image " << i;
    EXPECT_LT(bright, 400) << "image " << i;
    EXPECT_LT(bright_border, 8) << "image " << i;
    different.insert(pixels);
  }
  EXPECT_EQ(different.size(), 2000u);
}

TEST(SyntheticDigits, Errors) {
  using ::testing::HasSubstr;
  EXPECT_THAT(error_of([] { synthetic_digits({.train = 0}); }), HasSubstr("train: expected 1 to"));
  EXPECT_THAT(error_of([] { synthetic_digits({.test = -1}); }), HasSubstr("got -1"));
  EXPECT_THAT(error_of([] { synthetic_digits({.train = 1'000'000'000'000}); }), HasSubstr("got"));
}

TEST(Glyphs, StrokesStayInTheBoxAndJoinTheirPoints) {
  for (int digit = 0; digit <= 9; ++digit) {
    EXPECT_GE(glyphs(digit).size(), 2u) << digit;
    for (const Glyph& glyph : glyphs(digit)) {
      for (const Stroke& stroke : glyph.strokes) {
        ASSERT_GE(stroke.points.size(), 2u) << digit;
        std::vector<Point> line;
        flatten(stroke, glyph.points, line);
        const auto first = glyph.points[static_cast<std::size_t>(stroke.points.front())];
        const auto last = glyph.points[static_cast<std::size_t>(stroke.points.back())];
        EXPECT_EQ(line.front().x, first.x);
        EXPECT_EQ(line.back().y, last.y);
        for (const Point p : line) {
          EXPECT_TRUE(p.x >= 0 && p.x <= 1 && p.y >= -0.05f && p.y <= 1.05f)
              << digit << ": " << p.x << " " << p.y;
        }
      }
    }
  }
}

}  // namespace
}  // namespace tessera::datasets
