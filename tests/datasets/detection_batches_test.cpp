// Pictures with boxes as batches: boxes follow their objects through every change.
#include "datasets/detection_batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

#include "datasets/png.h"
#include "tests/datasets/pictures.h"
#include "tests/datasets/temp_dir.h"
#include "tests/error_of.h"

namespace tessera::datasets {
namespace {

using tessera::testing::error_of;

constexpr std::int64_t kWidth = 96, kHeight = 64;

// A dark picture with one bright rectangle, which is the object.
struct Scene {
  std::shared_ptr<CocoSet> set = std::make_shared<CocoSet>();
  Tensor pixels = Tensor(DType::u8, {1, kHeight, kWidth, 3});
};
Scene scene(const PixelRect& bright) {
  Scene out;
  out.set->name = "scene";
  out.set->categories = {{7, "sun"}};
  out.set->images = {{1, "a.jpg", kWidth, kHeight, {}}};
  out.set->images[0].boxes = {
      {{static_cast<double>(bright.x), static_cast<double>(bright.y),
        static_cast<double>(bright.width), static_cast<double>(bright.height)},
       7,
       12,
       false,
       3}};
  const auto bytes = out.pixels.span<std::uint8_t>();
  for (std::int64_t y = bright.y; y < bright.y + bright.height; ++y) {
    for (std::int64_t x = bright.x; x < bright.x + bright.width; ++x)
      std::fill_n(bytes.begin() + (y * kWidth + x) * 3, 3, std::uint8_t{255});
  }
  return out;
}

DetectionBatchOptions unit(std::int64_t width, std::int64_t height) {
  DetectionBatchOptions out;
  out.width = width;
  out.height = height;
  out.format = {{0, 0, 0}, {1, 1, 1}};
  return out;
}

// Where a sample is bright, as shares: centre and sides.
std::array<double, 4> bright_box(std::span<const float> x, std::int64_t width,
                                 std::int64_t height) {
  double left = 1e9, right = -1, top = 1e9, bottom = -1;
  for (std::int64_t i = 0; i < height; ++i) {
    for (std::int64_t j = 0; j < width; ++j) {
      if (x[static_cast<std::size_t>(i * width + j)] < 0.7f) continue;
      left = std::min(left, static_cast<double>(j));
      right = std::max(right, static_cast<double>(j + 1));
      top = std::min(top, static_cast<double>(i));
      bottom = std::max(bottom, static_cast<double>(i + 1));
    }
  }
  const auto w = static_cast<double>(width), h = static_cast<double>(height);
  return {(left + right) / 2 / w, (top + bottom) / 2 / h, (right - left) / w, (bottom - top) / h};
}

TEST(DetectionBatches, BoxesLieWhereTheObjectIsWhateverTheFit) {
  const Scene s = scene({24, 16, 30, 20});
  for (const Fit fit : {Fit::letterbox, Fit::stretch}) {
    for (const auto& [width, height] : {std::pair{96, 64}, {128, 128}, {48, 64}}) {
      DetectionBatchOptions options = unit(width, height);
      options.fit = fit;
      const DetectionBatches batches(s.set, pictures_of(s.pixels), options);
      TensorMap batch = batch_of(batches.fields(), 1);
      batches.fill(-1, 0, batch);
      const auto seen = bright_box(batch.at("x").span<float>(), width, height);
      const auto box = batch.at("boxes").span<float>();
      const double pixel = 1.0 / std::min(width, height);
      for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(box[k], seen[k], pixel) << width << " " << k;
      // And back in the picture.
      const Box there = Frame::of(batch.at("frame").span<float>()).box(box.subspan(0, 4));
      EXPECT_NEAR(there.x, 24, 1e-4);
      EXPECT_NEAR(there.y, 16, 1e-4);
      EXPECT_NEAR(there.width, 30, 1e-4);
      EXPECT_NEAR(there.height, 20, 1e-4);
      EXPECT_EQ(batch.at("objects").span<std::int32_t>()[0], 1);
      EXPECT_EQ(batch.at("kinds").span<std::int32_t>()[0], 0);
      EXPECT_EQ(batch.at("areas").span<float>()[0], 12);
    }
  }
}

TEST(DetectionBatches, CropsAndFlipsTakeTheBoxesAlong) {
  const Scene s = scene({40, 20, 24, 20});
  DetectionBatchOptions options = unit(64, 64);
  options.augment = DetectionAugment{};
  const DetectionBatches batches(s.set, pictures_of(s.pixels), options);
  TensorMap batch = batch_of(batches.fields(), 1);
  int shown = 0, left_out = 0;
  for (std::int64_t epoch = 0; epoch < 60; ++epoch) {
    batches.fill(epoch, 0, batch);
    if (batch.at("objects").span<std::int32_t>()[0] == 0) {
      ++left_out;
      continue;
    }
    ++shown;
    const auto seen = bright_box(batch.at("x").span<float>(), 64, 64);
    for (std::size_t k = 0; k < 4; ++k)
      EXPECT_NEAR(batch.at("boxes").span<float>()[k], seen[k], 2.0 / 64) << epoch << " " << k;
  }
  EXPECT_GT(shown, 40);
  TensorMap again = batch_of(batches.fields(), 1), other = batch_of(batches.fields(), 1);
  batches.fill(59, 0, again);
  batches.fill(58, 0, other);
  EXPECT_TRUE(equal_bits(again.at("x"), batch.at("x")));
  EXPECT_FALSE(equal_bits(other.at("x"), batch.at("x")));
  // Only what shows enough of it remains.
  EXPECT_LT(left_out, 20);
}

// All eight symmetries of a square, and the four of a sample that is none.
TEST(DetectionBatches, TurnsTakeTheBoxesAlong) {
  const Scene s = scene({60, 4, 24, 10});
  for (const auto& [height, ways] : {std::pair{96, 8u}, {64, 4u}}) {
    DetectionBatchOptions options = unit(96, height);
    options.augment = DetectionAugment{.min_area = 1, .turn = true};
    const DetectionBatches batches(s.set, pictures_of(s.pixels), options);
    TensorMap batch = batch_of(batches.fields(), 1);
    std::set<std::vector<float>> seen;
    for (std::int64_t epoch = 0; epoch < 80; ++epoch) {
      batches.fill(epoch, 0, batch);
      const auto box = batch.at("boxes").span<float>();
      const auto bright = bright_box(batch.at("x").span<float>(), 96, height);
      for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(box[k], bright[k], 1e-6) << epoch << " " << k;
      seen.emplace(box.begin(), box.begin() + 4);
    }
    EXPECT_EQ(seen.size(), ways);
    batches.fill(-1, 0, batch);
    EXPECT_NEAR(batch.at("boxes").span<float>()[0], 0.75, 1e-6);
  }
}

// Channels in any order, and negatives: twelve pictures, in all of which the object is where it
// was.
TEST(DetectionBatches, ColoursChangeAndPlacesDoNot) {
  Scene s = scene({60, 4, 24, 10});
  const auto bytes = s.pixels.span<std::uint8_t>();
  for (std::size_t i = 0; i < bytes.size(); i += 3) bytes[i + 1] = bytes[i] ? 51 : 0;
  for (std::size_t i = 0; i < bytes.size(); i += 3) bytes[i + 2] = bytes[i] ? 102 : 0;
  DetectionBatchOptions options = unit(96, 64);
  options.augment = DetectionAugment{.flip = 0, .min_area = 1, .colours = true};
  const DetectionBatches batches(s.set, pictures_of(s.pixels), options);
  TensorMap batch = batch_of(batches.fields(), 1);
  std::set<std::array<int, 3>> seen;
  for (std::int64_t epoch = 0; epoch < 150; ++epoch) {
    batches.fill(epoch, 0, batch);
    const auto x = batch.at("x").span<float>();
    const auto colour = [&](std::size_t row, std::size_t column) {
      std::array<int, 3> out;
      for (std::size_t c = 0; c < 3; ++c)
        out[c] = static_cast<int>(std::lround(x[(c * 64 + row) * 96 + column] * 5));
      return out;
    };
    const bool negative = colour(30, 10)[0] == 5;
    std::array<int, 3> object = colour(8, 70);
    seen.insert(object);
    for (int& v : object) v = negative ? 5 - v : v;
    std::sort(object.begin(), object.end());
    EXPECT_EQ(object, (std::array{1, 2, 5}));
    EXPECT_NEAR(batch.at("boxes").span<float>()[0], 0.75, 1e-6);
  }
  EXPECT_EQ(seen.size(), 12u);
}

// What COCO evaluates is all there; what trains is what can be seen.
TEST(DetectionBatches, OddBoxes) {
  Scene s = scene({0, 0, 10, 10});
  auto& boxes = s.set->images[0].boxes;
  boxes[0].box = {-5, 0, 20, 10};                           // over the border
  boxes.push_back({{200, 200, 10, 10}, 7, 100, false, 4});  // outside
  boxes.push_back({{30, 30, 0, 12}, 7, 0, false, 5});       // no area
  boxes.push_back({{0, 0, 96, 64}, 7, 6000, true, 0});      // a crowd
  DetectionBatchOptions options = unit(96, 64);
  options.augment = DetectionAugment{.flip = 0, .min_area = 1};
  options.most = 6;
  const DetectionBatches batches(s.set, pictures_of(s.pixels), options);
  TensorMap batch = batch_of(batches.fields(), 1);
  batches.fill(-1, 0, batch);
  EXPECT_EQ(batch.at("objects").span<std::int32_t>()[0], 4);
  EXPECT_EQ(batch.at("crowds").span<std::int32_t>()[3], 1);
  EXPECT_EQ(batch.at("ids").span<std::int32_t>()[3], 0);
  EXPECT_EQ(batch.at("ids").span<std::int32_t>()[2], 3);
  EXPECT_NEAR(batch.at("boxes").span<float>()[2], 20.0 / 96, 1e-6);
  for (std::size_t k = 16; k < 24; ++k) EXPECT_EQ(batch.at("boxes").span<float>()[k], 0);
  batches.fill(0, 0, batch);
  EXPECT_EQ(batch.at("objects").span<std::int32_t>()[0], 2);
  EXPECT_NEAR(batch.at("boxes").span<float>()[2], 15.0 / 96, 1e-6);  // of which 15 are inside
  EXPECT_EQ(batch.at("crowds").span<std::int32_t>()[1], 1);
  options.most = 2;
  EXPECT_NE(error_of([&] {
              DetectionBatches(s.set, pictures_of(s.pixels), options);
            }).find("scene: a picture has 4 objects, expected at most 2"),
            std::string::npos);
}

TEST(DetectionBatches, PicturesOfAFolderAreThereAndAsLargeAsSaid) {
  const TempDir dir;
  std::ofstream(dir.path() / "a.jpg", std::ios::binary) << encode_jpeg(waves(40, 30));
  CocoSet set;
  set.name = "set.json";
  set.categories = {{1, "wave"}};
  set.images = {{5, "a.jpg", 40, 30, {}}};
  PictureMemory memory;
  EXPECT_EQ(pictures_in(dir.path(), set)(0, memory).width, 40);
  set.images[0].height = 31;
  EXPECT_NE(error_of([&] {
              pictures_in(dir.path(), set)(0, memory);
            }).find("has 40 x 30 pixels, set.json says 40 x 31"),
            std::string::npos);
  set.images.push_back({6, "b.jpg", 0, 0, {}});
  EXPECT_NE(error_of([&] {
              pictures_in(dir.path(), set);
            }).find("set.json: image 6: there is no picture"),
            std::string::npos);
}

TEST(Png, IsWhatReadersExpect) {
  RgbImage image = pattern(3, 2);
  draw_outline(image, {1, 0, 5, 5}, {1, 2, 3});
  EXPECT_EQ(image.row(0)[3], 1);
  EXPECT_EQ(image.row(1)[3], 1);  // its left side
  EXPECT_EQ(image.row(1)[6], pattern(3, 2).row(1)[6]);
  const std::string bytes = png_bytes(image.view());
  EXPECT_TRUE(bytes.starts_with("\x89PNG\r\n\x1A\n"));
  EXPECT_EQ(bytes.substr(12, 4), "IHDR");
  EXPECT_EQ(bytes.substr(16, 13), std::string("\0\0\0\3\0\0\0\2\x08\x02\0\0\0", 13));
  // The chunk without data has the checksum that is in every PNG file.
  EXPECT_TRUE(bytes.ends_with(std::string("\0\0\0\0IEND\xAE\x42\x60\x82", 12)));
  EXPECT_NE(error_of([] { png_bytes({}); }).find("needs pixels"), std::string::npos);
}

}  // namespace
}  // namespace tessera::datasets
