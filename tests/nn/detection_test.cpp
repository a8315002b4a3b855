#include "nn/detection.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/error_of.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;

TEST(Detection, SuppressesWhatABetterOneOfItsCategoryCovers) {
  const DetectedBox best{{0, 0, 10, 10}, 1, 0.9}, covered{{1, 0, 10, 10}, 1, 0.8},
      other{{1, 0, 10, 10}, 2, 0.7}, half{{5, 0, 10, 10}, 1, 0.6}, same{{0, 0, 10, 10}, 1, 0.9};
  const auto kept = [&](double most) {
    std::vector<double> out;
    for (const auto& d : suppress_overlapping({half, other, covered, best, same}, most))
      out.push_back(d.score * 100 + static_cast<double>(d.category));
    return out;
  };
  EXPECT_EQ(kept(0.5), (std::vector<double>{91, 72, 61}));  // half: 1/3 of the union
  EXPECT_EQ(kept(0.3), (std::vector<double>{91, 72}));
  // A suppressed box suppresses none: half overlaps `covered` by 3/7.
  EXPECT_EQ(kept(0.4), (std::vector<double>{91, 72, 61}));
  EXPECT_EQ(kept(1), (std::vector<double>{91, 91, 81, 72, 61}));  // nothing is more than all
}

// Of the category, near enough, by scores: a box of the same place as often as its score says, a
// shifted one less, others not at all.
TEST(Detection, BoxesAreMeansOfThoseThatOverlapThem) {
  const DetectedBox best{{0, 0, 10, 10}, 1, 0.9}, same{{0, 0, 10, 10}, 1, 0.6},
      near{{1, 0, 10, 12}, 1, 0.3}, far{{6, 0, 10, 10}, 1, 0.8}, other{{2, 0, 10, 10}, 2, 0.8};
  std::vector<DetectedBox> kept = {best};
  average_overlapping(kept, {best, same, near, far, other}, 0.5);
  const double overlap = 90.0 / 130;
  const double weight = 0.3 * std::exp(-(1 - overlap) * (1 - overlap) / 0.05);
  EXPECT_NEAR(kept[0].box.x, weight / (1.5 + weight), 1e-9);
  EXPECT_NEAR(kept[0].box.y, 0, 1e-9);
  EXPECT_NEAR(kept[0].box.width, 10, 1e-9);
  EXPECT_NEAR(kept[0].box.height, 10 + 2 * weight / (1.5 + weight), 1e-9);
  EXPECT_EQ(kept[0].score, 0.9);
  // What is suppressed still says where the object is.
  const std::vector<float> boxes = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.4f},
                           scores = {0.5f, 0.5f};
  const std::vector<std::int64_t> one = {1};
  const auto height = [&](double averaged) {
    const auto found =
        detections_of(boxes, scores, one, Frame::whole(100, 100), {.averaged = averaged});
    EXPECT_EQ(found.size(), 1u);
    return found[0].box.height;
  };
  EXPECT_NEAR(height(1), 50, 1e-4);
  EXPECT_NEAR(height(0.9), 50, 1e-4);
  const double share = std::exp(-0.04 / 0.05);
  EXPECT_NEAR(height(0.5), (50 + 40 * share) / (1 + share), 1e-4);
}

TEST(Detection, PlacesBecomeBoxesOfThePicture) {
  const std::vector<float> boxes = {0.5f, 0.5f, 0.5f, 0.25f, 0.9f, 0.1f, 0.4f, 0.4f};
  const std::vector<float> scores = {0.5f, 0.1f, 0.02f, 0.75f};
  const std::vector<std::int64_t> categories = {7, 3};
  const auto found = detections_of(boxes, scores, categories, Frame::whole(200, 100));
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].category, 3);
  EXPECT_NEAR(found[0].box.x, 140, 1e-4);
  EXPECT_NEAR(found[0].box.width, 60, 1e-4);  // 80, of which 20 are outside
  EXPECT_NEAR(found[0].box.y, 0, 1e-4);
  EXPECT_NEAR(found[0].box.height, 30, 1e-4);
  EXPECT_EQ(found[1].category, 7);
  EXPECT_NEAR(found[1].box.x, 50, 1e-4);
  EXPECT_NEAR(found[1].box.y, 37.5, 1e-4);
  EXPECT_NEAR(found[2].score, 0.1, 1e-6);
  EXPECT_EQ(detections_of(boxes, scores, categories, Frame::whole(200, 100), {.most = 1}).size(),
            1u);
  EXPECT_EQ(
      detections_of(boxes, scores, categories, Frame::whole(200, 100), {.least_score = 0.5}).size(),
      1u);
  EXPECT_NE(error_of([&] {
              detections_of(boxes, scores, std::vector<std::int64_t>{1}, Frame{});
            }).find("do not fit"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::nn
