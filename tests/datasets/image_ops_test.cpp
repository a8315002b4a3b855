// Numbers from Pillow 9.4.0: Image.resize(size, BILINEAR) and ImageEnhance on the pattern.
#include "datasets/image_ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "core/cpu.h"
#include "tests/datasets/pictures.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::datasets {
namespace {

using ::testing::HasSubstr;

std::vector<int> values(const RgbImage& image) {
  const RgbView view = image.view();
  return {view.data, view.data + 3 * view.width * view.height};
}

RgbImage resized(const RgbImage& in, std::int64_t width, std::int64_t height,
                 const ResizeKernels& kernels = Resizer::best()) {
  Resizer resizer(kernels);
  RgbImage out;
  resizer.run({in.width(), in.height(), width, height, {0, 0, width, height}}, in.view(), out);
  return out;
}

void expect_near(const std::vector<int>& got, const std::vector<int>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  int differ = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], expected[i], 1) << i;
    differ += got[i] != expected[i];
  }
  EXPECT_LE(differ, 4);  // ties
}

TEST(Resize, HasPillowsValues) {
  expect_near(values(resized(pattern(7, 5), 3, 2)), {105, 133, 143, 125, 129, 144, 133, 134, 127,
                                                     124, 135, 130, 139, 140, 134, 151, 132, 125});
  expect_near(values(resized(pattern(3, 2), 5, 4)),
              {0,  53,  106, 15,  68,  121, 37,  90,  143, 59,  112, 165, 74,  127, 180,
               23, 76,  129, 39,  92,  145, 62,  115, 168, 85,  138, 152, 100, 153, 142,
               68, 121, 174, 86,  139, 192, 111, 164, 217, 136, 189, 127, 153, 206, 67,
               91, 144, 197, 109, 162, 215, 135, 188, 241, 161, 214, 114, 179, 232, 29});
  expect_near(
      values(resized(pattern(7, 5), 9, 2)),
      {79,  132, 127, 109, 123, 157, 117, 138, 144, 119, 149, 118, 153, 101, 143, 106, 127, 177,
       110, 158, 133, 139, 146, 106, 169, 82,  135, 87,  140, 135, 125, 140, 119, 145, 129, 132,
       140, 126, 147, 121, 163, 111, 157, 126, 156, 141, 148, 123, 140, 146, 107, 179, 92,  145});
  expect_near(values(resized(pattern(40, 3), 2, 1)), {124, 130, 126, 127, 127, 126});
}

TEST(Resize, KeepsPicturesOfTheSameSizeAndEvenAreas) {
  const RgbImage image = pattern(13, 9);
  EXPECT_EQ(values(resized(image, 13, 9)), values(image));
  for (const auto& [w, h] : {std::pair{1, 1}, {13, 1}, {700, 900}, {301, 7}}) {
    RgbImage even;
    even.resize(w, h);
    std::fill_n(even.row(0), 3 * w * h, std::uint8_t{173});
    for (const auto& [to_w, to_h] : {std::pair{1, 1}, {5, 3}, {224, 224}}) {
      const auto got = values(resized(even, to_w, to_h));
      EXPECT_TRUE(std::all_of(got.begin(), got.end(), [](int v) { return v == 173; }));
    }
  }
}

TEST(Resize, AWindowIsAPartOfTheWhole) {
  const RgbImage image = pattern(53, 31);
  const RgbImage whole = resized(image, 40, 60);
  Resizer resizer;
  RgbImage part;
  for (const PixelRect& window : {PixelRect{0, 0, 40, 60}, PixelRect{7, 11, 20, 30},
                                  PixelRect{39, 59, 1, 1}, PixelRect{0, 58, 3, 2}}) {
    const Resize how{53, 31, 40, 60, window};
    const PixelRect source = how.source();
    EXPECT_LE(source.x + source.width, 53);
    EXPECT_LE(source.y + source.height, 31);
    resizer.run(how, image.view().crop(source), part);
    EXPECT_EQ(difference(part.view(), whole.view().crop(window)), 0);
  }
}

TEST(Resize, KernelsGiveTheSameBits) {
#if defined(__x86_64__)
  if (!detected_features().includes(kAvx2)) GTEST_SKIP() << "no AVX2";
  for (const int from : {1, 2, 3, 5, 16, 33, 100, 517}) {
    for (const int to : {1, 2, 4, 5, 6, 11, 31, 224}) {
      const RgbImage image = pattern(from, 3 + 517 / from);
      EXPECT_EQ(values(resized(image, to, 7, tessera_resize_avx2)),
                values(resized(image, to, 7, tessera_resize_ref)))
          << from << " to " << to;
    }
  }
#else
  GTEST_SKIP() << "no x86";
#endif
}

TEST(Resize, Errors) {
  Resizer resizer;
  RgbImage out;
  const RgbImage image = pattern(10, 10);
  EXPECT_THAT(error_of([&] {
                resizer.run({10, 10, 5, 5, {0, 0, 5, 6}}, image.view(), out);
              }),
              HasSubstr("leaves the result of 5 x 5"));
  EXPECT_THAT(error_of([&] {
                resizer.run({10, 11, 5, 5, {0, 0, 5, 5}}, image.view(), out);
              }),
              HasSubstr("expected a source of 10 x 11 pixels, got 10 x 10"));
}

TEST(CenterCrop, ResizesTheShortSideAndRoundsToEven) {
  const auto check_crop = [](std::int64_t w, std::int64_t h, std::int64_t crop, std::int64_t to_w,
                             std::int64_t to_h, std::int64_t x, std::int64_t y) {
    const Resize how = center_crop(w, h, 256, crop);
    EXPECT_EQ(how.to_width, to_w);
    EXPECT_EQ(how.to_height, to_h);
    EXPECT_EQ(how.window, (PixelRect{x, y, crop, crop}));
  };
  check_crop(500, 375, 224, 341, 256, 58, 16);  // 117 / 2 rounds to 58
  check_crop(375, 500, 224, 256, 341, 16, 58);
  check_crop(343, 256, 224, 343, 256, 60, 16);  // 119 / 2 rounds to 60
  check_crop(256, 256, 227, 256, 256, 14, 14);
  check_crop(1, 65500, 224, 256, 256 * 65500, 16, (256 * 65500 - 224) / 2);
  EXPECT_EQ(center_crop(300, 230, 0, 224).to_width, 300);
  EXPECT_THAT(error_of([] { center_crop(300, 223, 0, 224); }),
              HasSubstr("300 x 223 pixels is smaller than the crop of 224"));
}

TEST(RandomCrop, StaysInsideWithTheAreasAndRatiosAskedFor) {
  Rng rng(1, 0);
  const PhotoAugment augment;
  double mean_area = 0;
  for (int i = 0; i < 4000; ++i) {
    const PixelRect box = random_crop(500, 375, augment, rng);
    ASSERT_TRUE(box.x >= 0 && box.y >= 0 && box.x + box.width <= 500 && box.y + box.height <= 375);
    const double area = static_cast<double>(box.width * box.height) / (500 * 375),
                 ratio = static_cast<double>(box.width) / static_cast<double>(box.height);
    ASSERT_GT(area, 0.079);
    ASSERT_TRUE(ratio > 0.74 && ratio < 1.35) << ratio;
    mean_area += area / 4000;
  }
  // Large areas often do not fit and are drawn again. 100,000 crops by torchvision's code have a
  // mean of 0.432 and a standard deviation of 0.217.
  EXPECT_NEAR(mean_area, 0.432, 4 * 0.217 / std::sqrt(4000));
  // Nothing fits: the largest central part.
  EXPECT_EQ(random_crop(1, 1000, augment, rng), (PixelRect{0, 499, 1, 1}));
  EXPECT_EQ(random_crop(1000, 30, {.min_area = 0.9}, rng), (PixelRect{480, 0, 40, 30}));
  EXPECT_EQ(random_crop(1, 1, augment, rng), (PixelRect{0, 0, 1, 1}));
}

TEST(PhotoAugmentTest, Errors) {
  EXPECT_THAT(error_of([] { PhotoAugment{.min_area = 0}.validate(); }), HasSubstr("min_area"));
  EXPECT_THAT(error_of([] { PhotoAugment{.max_area = 1.5}.validate(); }), HasSubstr("max_area"));
  EXPECT_THAT(error_of([] { PhotoAugment{.min_ratio = 2}.validate(); }), HasSubstr("min_ratio"));
  EXPECT_THAT(error_of([] { PhotoAugment{.flip = 2}.validate(); }), HasSubstr("flip"));
  EXPECT_THAT(error_of([] { PhotoAugment{.contrast = -1}.validate(); }), HasSubstr("contrast"));
}

TEST(Adjust, HasPillowsValues) {
  const auto check_adjust = [](Colour what, float factor, const std::vector<int>& expected) {
    RgbImage image = pattern(3, 2);
    adjust(image, what, factor);
    EXPECT_EQ(values(image), expected);
  };
  check_adjust(Colour::brightness, 0.5f,
               {0, 26, 53, 18, 45, 71, 37, 63, 90, 45, 72, 98, 67, 94, 120, 89, 116, 14});
  check_adjust(
      Colour::brightness, 1.3f,
      {0, 68, 137, 48, 116, 185, 96, 165, 233, 118, 187, 255, 175, 244, 255, 232, 255, 37});
  check_adjust(
      Colour::contrast, 0.5f,
      {62, 88, 115, 80, 107, 133, 99, 125, 152, 107, 134, 160, 129, 156, 182, 151, 178, 76});
  check_adjust(Colour::contrast, 1.3f,
               {0, 31, 100, 10, 79, 148, 59, 127, 196, 81, 150, 218, 138, 207, 255, 195, 255, 0});
  check_adjust(
      Colour::saturation, 0.5f,
      {21, 48, 74, 58, 85, 111, 95, 122, 148, 112, 139, 165, 156, 183, 209, 186, 212, 111});
  check_adjust(Colour::saturation, 1.3f,
               {0, 56, 124, 24, 93, 161, 61, 130, 198, 78, 147, 215, 122, 191, 255, 174, 243, 0});
}

TEST(Adjust, JitterWithoutRangesChangesNothing) {
  RgbImage image = pattern(9, 9);
  Rng rng(1, 0);
  color_jitter(image, {}, rng);
  EXPECT_EQ(values(image), values(pattern(9, 9)));
  color_jitter(image, {.brightness = 0.4f, .contrast = 0.4f, .saturation = 0.4f}, rng);
  EXPECT_NE(values(image), values(pattern(9, 9)));
}

TEST(PlanesTest, BothFormats) {
  const RgbImage image = pattern(3, 2);
  const RgbView view = image.view();
  std::vector<float> out(18);
  Planes(PixelFormat{}).write(view, false, out);
  const double mean[] = {0.485, 0.456, 0.406}, std[] = {0.229, 0.224, 0.225};
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < 6; ++i)
      EXPECT_FLOAT_EQ(out[c * 6 + i],
                      static_cast<float>((view.data[3 * i + c] / 255.0 - mean[c]) / std[c]));
  }
  Planes(PixelFormat::caffe()).write(view, true, out);
  const float colour[] = {104, 117, 123};
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t y = 0; y < 2; ++y) {
      for (std::size_t x = 0; x < 3; ++x)
        EXPECT_EQ(out[c * 6 + y * 3 + x],
                  static_cast<float>(view.data[9 * y + 3 * (2 - x) + 2 - c]) - colour[c]);
    }
  }
  EXPECT_THAT(error_of([] { Planes(PixelFormat{.std = {1, 0, 1}}); }), HasSubstr("positive"));
  EXPECT_THAT(error_of([] { Planes(PixelFormat{.range = -1}); }), HasSubstr("range"));
  EXPECT_THAT(error_of([] {
                Planes(PixelFormat{.mean = {0, std::numeric_limits<double>::quiet_NaN(), 0}});
              }),
              HasSubstr("finite"));
}

}  // namespace
}  // namespace tessera::datasets
