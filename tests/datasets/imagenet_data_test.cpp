// 250 real pictures of short side 256 and 11 originals. Sizes, means and sums are those of Pillow
// 9.4.0 with torchvision's Resize(256) and CenterCrop.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "datasets/imagenet.h"
#include "datasets/prefetch.h"
#include "tests/data_dir.h"
#include "tests/fill_xy.h"

namespace tessera::datasets {
namespace {

using tessera::testing::fill_xy;

struct Original {
  const char* file;
  std::int64_t width, height;
  bool grey;
  double mean;         // of all values
  double sample_mean;  // of the central 224 x 224 after resizing
};

constexpr std::array kOriginals{
    Original{"n01440764_tench.JPEG", 500, 375, false, 104.1610, 114.2096},
    Original{"n01443537_goldfish.JPEG", 376, 263, false, 65.7531, 80.8312},
    Original{"n02099601_golden_retriever.JPEG", 300, 500, false, 99.8303, 95.1215},
    Original{"n02123045_tabby.JPEG", 335, 500, false, 71.6255, 72.2982},
    Original{"n02692877_airship.JPEG", 350, 156, true, 184.7510, 184.7352},
    Original{"n02749479_assault_rifle.JPEG", 500, 333, true, 219.7868, 221.5136},
    Original{"n02815834_beaker.JPEG", 320, 221, true, 129.8300, 130.4951},
    Original{"n03804744_nail.JPEG", 183, 280, true, 91.8560, 77.8419},
    Original{"n04285008_sports_car.JPEG", 563, 302, false, 86.5352, 105.0530},
    Original{"n04372370_switch.JPEG", 492, 369, true, 123.6116, 125.9063},
    Original{"n07747607_orange.JPEG", 332, 500, false, 133.6956, 133.3277},
};

// Samples that are the bytes themselves.
ImageOptions plain(std::int64_t crop) {
  return {.crop = crop, .format = {{0, 0, 0}, {1, 1, 1}, 255, ChannelOrder::rgb}};
}

class ImagenetData : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto dir = testing::data_dir("imagenet-sample");
    if (!dir) GTEST_SKIP() << "no imagenet-sample in TESSERA_DATA or ../shared/data";
    dir_ = *dir;
  }
  std::filesystem::path dir_;
};

TEST_F(ImagenetData, EveryPictureDecodes) {
  const ImageFiles files = imagenet_val(dir_);
  EXPECT_EQ(files.name, "imagenet-sample");
  ASSERT_EQ(files.size(), 250);
  EXPECT_EQ(files.classes(), 1000);
  EXPECT_EQ(files.class_words[0], "tench, Tinca tinca");
  double sum = 0;
  std::int64_t values = 0;
  for (std::int64_t i = 0; i < files.size(); ++i) {
    EXPECT_EQ(files.labels[static_cast<std::size_t>(i)], 4 * i);
    // Files are named after their class.
    EXPECT_EQ(files.files[static_cast<std::size_t>(i)],
              files.class_ids[static_cast<std::size_t>(4 * i)] + ".jpg");
    const Tensor image = read_jpeg(files.path(i));
    EXPECT_EQ(std::min(image.shape()[0].value(), image.shape()[1].value()), 256);
    for (const std::uint8_t v : image.span<std::uint8_t>()) sum += v;
    values += image.numel();
  }
  EXPECT_EQ(values, 67302912);
  EXPECT_NEAR(sum / static_cast<double>(values), 119.415266, 1e-6);
}

TEST_F(ImagenetData, OriginalsDecodeTheGreyOnesToo) {
  for (const Original& p : kOriginals) {
    const Tensor image = read_jpeg(dir_ / "originals" / p.file);
    EXPECT_EQ(image.shape(), Shape({p.height, p.width, 3}));
    double sum = 0;
    bool grey = true;
    const auto pixels = image.span<std::uint8_t>();
    for (std::size_t i = 0; i < pixels.size(); i += 3) {
      sum += pixels[i] + pixels[i + 1] + pixels[i + 2];
      grey = grey && pixels[i] == pixels[i + 1] && pixels[i] == pixels[i + 2];
    }
    EXPECT_EQ(grey, p.grey) << p.file;
    EXPECT_NEAR(sum / static_cast<double>(pixels.size()), p.mean, 1e-4) << p.file;
  }
}

// Exactly the bytes that go into the two networks of nets/expected.json.
TEST_F(ImagenetData, CentralCropsOfBothNetworks) {
  for (const auto& [crop, sum] : {std::pair{224, 4441892967.0}, {227, 4566426238.0}}) {
    const ImageBatches batches(imagenet_val(dir_), plain(crop));
    Tensor x(DType::f32, {50, 3, crop, crop}), y(DType::s32, {50});
    double got = 0;
    for (std::int64_t first = 0; first < 250; first += 50) {
      fill_xy(batches, -1, first, x, y);
      for (const float v : x.span<float>()) got += static_cast<double>(v);
    }
    EXPECT_EQ(got, sum);
  }
}

TEST_F(ImagenetData, OriginalsAreResized) {
  ImageFiles files{.name = "originals", .root = dir_ / "originals", .class_ids = {"any"}};
  for (const Original& p : kOriginals) files.files.push_back(p.file);
  files.labels.assign(kOriginals.size(), 0);
  const ImageBatches batches(files, plain(224));
  const auto n = static_cast<std::int64_t>(kOriginals.size());
  Tensor x(DType::f32, {n, 3, 224, 224}), y(DType::s32, {n});
  fill_xy(batches, -1, 0, x, y);
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = 0;
    const Tensor sample = x.slice(i, i + 1);
    for (const float v : sample.span<float>()) sum += static_cast<double>(v);
    EXPECT_NEAR(sum / (3 * 224 * 224), kOriginals[static_cast<std::size_t>(i)].sample_mean, 0.01);
  }
}

TEST_F(ImagenetData, PrefetchedTrainingGivesTheSameBits) {
  ImageOptions options{.augment = PhotoAugment{.brightness = 0.4f}, .threads = 2};
  const auto source = std::make_shared<const ImageBatches>(image_files(dir_), options);
  const Prefetch ahead(source);
  Tensor x(DType::f32, {25, 3, 224, 224}), y(DType::s32, {25}), x2 = x.clone(), y2 = y.clone();
  for (std::int64_t first = 0; first < 100; first += 25) {
    fill_xy(ahead, 0, first, x, y);
    fill_xy(*source, 0, first, x2, y2);
    EXPECT_TRUE(equal_bits(x, x2) && equal_bits(y, y2));
  }
}

}  // namespace
}  // namespace tessera::datasets
