#include "datasets/synthetic_images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include "core/parallel.h"
#include "datasets/batches.h"
#include "datasets/motifs.h"
#include "nn/classification.h"
#include "nn/trainer.h"
#include "tests/accuracy.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::datasets {
namespace {

using ::testing::HasSubstr;

TEST(SyntheticImages, DefaultsAndBalance) {
  for (const std::int64_t classes : {10, 100}) {
    const Split split = synthetic_images({.classes = classes, .train = 1000, .test = 300});
    EXPECT_EQ(split.train.name, cat("synthetic_images", classes, "/train"));
    EXPECT_EQ(split.train.images.text_type(), "u8[1000,3,32,32]");
    EXPECT_EQ(split.test.images.text_type(), "u8[300,3,32,32]");
    for (const Dataset* data : {&split.train, &split.test}) {
      EXPECT_EQ(data->classes, classes);
      std::vector<std::int64_t> counts(static_cast<std::size_t>(classes));
      for (const auto label : data->labels.span<std::int32_t>())
        ++counts.at(static_cast<std::size_t>(label));
      for (const auto count : counts) EXPECT_EQ(count, data->size() / classes);
    }
  }
}

TEST(SyntheticImages, SameSeedSameBitsForAnyThreadCount) {
  const int threads = num_threads();
  set_num_threads(1);
  const Split one = synthetic_images({.train = 200, .test = 100, .seed = 5});
  set_num_threads(4);
  const Split four = synthetic_images({.train = 200, .test = 100, .seed = 5});
  set_num_threads(threads);
  EXPECT_TRUE(equal_bits(one.train.images, four.train.images));
  EXPECT_TRUE(equal_bits(one.test.images, four.test.images));
  EXPECT_TRUE(equal_bits(one.test.labels, four.test.labels));
}

TEST(SyntheticImages, SeedSplitAndClassesChangeTheImagesAndSizeDoesNot) {
  const Split a = synthetic_images({.train = 50, .test = 50, .seed = 1});
  const Split b = synthetic_images({.train = 50, .test = 50, .seed = 2});
  const Split c = synthetic_images({.classes = 100, .train = 50, .test = 50, .seed = 1});
  const Split longer = synthetic_images({.train = 80, .test = 50, .seed = 1});
  EXPECT_FALSE(equal_bits(a.train.images, b.train.images));
  EXPECT_FALSE(equal_bits(a.train.images, c.train.images));
  EXPECT_FALSE(equal_bits(a.train.images, a.test.images));
  EXPECT_TRUE(equal_bits(a.train.images, longer.train.images.slice(0, 50)));
}

TEST(SyntheticImages, MeansOfClassesAreTheSameGrey) {
  const Dataset data = synthetic_images({.train = 4000, .test = 1}).train;
  const auto pixels = data.images.span<std::uint8_t>();
  std::vector<double> sums(30);
  for (std::size_t i = 0; i < pixels.size(); ++i)
    sums[i / 3072 % 10 * 3 + i / 1024 % 3] += pixels[i];
  // A channel's mean over an image has a deviation of about 60, over 400 images of 3.
  for (const double sum : sums) EXPECT_NEAR(sum / (400 * 1024), 127.5, 12);
}

// Softmax regression on normalized pixels.
double linear_accuracy(const SyntheticImages& options, int epochs) {
  const Split split = synthetic_images(options);
  const Preprocess normalize = Preprocess::standard(split.train);
  const BatchOptions flat{.batch = 100, .sample = {3072}};
  const Batches train(split.train, normalize, flat), test(split.test, normalize, flat);
  const auto model = std::make_shared<nn::Sequential>();
  model->add("fc", nn::Linear(3072, options.classes));
  nn::Trainer trainer = nn::classifier(model, {3072}, options.classes, {.batch = 100});
  nn::Position position;
  for (int epoch = 0; epoch < epochs; ++epoch)
    trainer.train_epoch(train, position, [&](double at) { return 0.002 * (1 - at / epochs); });
  return tessera::testing::accuracy(trainer.evaluate(test));
}

TEST(SyntheticImages, ALinearClassifierLearnsNothing) {
  const double ten = linear_accuracy({.train = 3000, .test = 1000}, 5);
  EXPECT_LT(ten, 0.1 + 5 * std::sqrt(0.09 / 1000));
  const double hundred = linear_accuracy({.classes = 100, .train = 3000, .test = 1000}, 5);
  EXPECT_LT(hundred, 0.01 + 5 * std::sqrt(0.0099 / 1000));
}

TEST(SyntheticImages, Errors) {
  EXPECT_THAT(error_of([] { synthetic_images({.classes = 20}); }),
              HasSubstr("10 or 100 classes, got 20"));
  EXPECT_THAT(error_of([] { synthetic_images({.train = 0}); }), HasSubstr("train: expected 1 to"));
  EXPECT_THAT(error_of([] { synthetic_images({.test = -1}); }), HasSubstr("got -1"));
}

TEST(Motifs, ShapesHaveOneAreaAndDistancesFitTheirOutline) {
  for (int shape = 0; shape < static_cast<int>(kShapes.size()); ++shape) {
    constexpr int kSteps = 397;
    constexpr float kStep = 4.0f / kSteps;
    int inside = 0;
    float deepest = 0, reach = 0;
    for (int i = 0; i < kSteps; ++i) {
      for (int j = 0; j < kSteps; ++j) {
        const float x = (static_cast<float>(i) + 0.5f) * kStep - 2;
        const float y = (static_cast<float>(j) + 0.5f) * kStep - 2;
        const float d = shape_distance(shape, x, y);
        // No distance changes faster than the point moves.
        EXPECT_LE(std::abs(shape_distance(shape, x + kStep, y) - d), 1.02f * kStep)
            << kShapes[static_cast<std::size_t>(shape)] << " at " << x << " " << y;
        if (d > 0) continue;
        ++inside;
        deepest = std::min(deepest, d);
        reach = std::max(reach, std::sqrt(x * x + y * y));
      }
    }
    EXPECT_NEAR(static_cast<float>(inside) * kStep * kStep, kShapeArea, 0.04f) << shape;
    EXPECT_NEAR(reach, shape_reach(shape), 0.03f) << shape;
    EXPECT_LT(reach, 1.9f) << shape;
    EXPECT_LT(deepest, -0.2f) << shape;  // wide enough to show a texture
  }
}

TEST(Motifs, TexturesUseBothColoursInComparableParts) {
  for (int kind = 0; kind < static_cast<int>(kTextures.size()); ++kind) {
    Rng rng(1, 1);
    double second = 0, opacity = 0;
    constexpr int kDraws = 20;
    for (int i = 0; i < kDraws; ++i) {
      const Texture texture(kind, rng);
      for (int y = -10; y < 10; ++y) {
        for (int x = -10; x < 10; ++x) {
          const float r = std::sqrt(static_cast<float>(x * x + y * y));
          const Texture::Value value =
              texture.at(static_cast<float>(x), static_cast<float>(y), r - 10, 10);
          EXPECT_TRUE(value.second >= 0 && value.second <= 1 && value.opacity >= 0 &&
                      value.opacity <= 1);
          second += static_cast<double>(value.second) / (kDraws * 400);
          opacity += static_cast<double>(value.opacity) / (kDraws * 400);
        }
      }
    }
    const auto name = kTextures[static_cast<std::size_t>(kind)];
    if (name == "plain" || name == "outline") {
      EXPECT_EQ(second, 0) << name;
    } else {
      EXPECT_GT(second, 0.2) << name;
      EXPECT_LT(second, 0.7) << name;
    }
    if (name == "outline") {
      EXPECT_LT(opacity, 0.6);
    } else {
      EXPECT_NEAR(opacity, 1, 1e-6) << name;
    }
  }
}

}  // namespace
}  // namespace tessera::datasets
