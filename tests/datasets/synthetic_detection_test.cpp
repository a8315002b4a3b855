#include "datasets/synthetic_detection.h"

#include <gtest/gtest.h>

#include <map>

#include "core/parallel.h"
#include "tests/error_of.h"

namespace tessera::datasets {
namespace {

using tessera::testing::error_of;

TEST(SyntheticDetection, HasWhatItSays) {
  const DetectionSplit split = synthetic_detection({.train = 300, .validation = 5, .test = 40});
  EXPECT_EQ(split.train.pixels.text_type(), "u8[300,128,128,3]");
  EXPECT_EQ(split.test.set.images.size(), 40u);
  std::map<std::int64_t, int> kinds;
  int small = 0, large = 0;
  for (const CocoImage& image : split.train.set.images) {
    EXPECT_GE(image.boxes.size(), 1u);
    EXPECT_LE(image.boxes.size(), 8u);
    for (const TrueBox& object : image.boxes) {
      ++kinds[object.category];
      const double longer = std::max(object.box.width, object.box.height);
      EXPECT_GE(longer, 8);
      EXPECT_LE(longer, 96);
      small += longer < 16;
      large += longer > 48;
      EXPECT_GE(object.box.x, 0);
      EXPECT_LE(object.box.y + object.box.height, 128);
      EXPECT_GT(object.area, 0);
      EXPECT_LE(object.area, object.box.area());
      EXPECT_NE(object.id, 0);
    }
  }
  EXPECT_EQ(kinds.size(), 8u);
  for (const auto& [kind, n] : kinds) EXPECT_GT(n, 80) << kind;
  EXPECT_GT(small, 150);
  EXPECT_GT(large, 100);
}

TEST(SyntheticDetection, IsAFunctionOfSeedPartAndPlace) {
  const int threads = num_threads();
  set_num_threads(1);
  const auto one = synthetic_detection({.train = 12, .validation = 2, .test = 12});
  set_num_threads(3);
  const auto three = synthetic_detection({.train = 20, .validation = 2, .test = 12});
  set_num_threads(threads);
  EXPECT_TRUE(equal_bits(one.train.pixels, three.train.pixels.slice(0, 12)));
  EXPECT_EQ(one.train.set.images[11].boxes[0].box, three.train.set.images[11].boxes[0].box);
  EXPECT_FALSE(equal_bits(one.train.pixels, one.test.pixels));
  const auto other = synthetic_detection({.train = 12, .validation = 2, .test = 12, .seed = 2});
  EXPECT_FALSE(equal_bits(one.train.pixels, other.train.pixels));
  EXPECT_NE(error_of([] { synthetic_detection({.train = 0}); }).find("train: expected 1 to"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::datasets
