// How much of the built-in detection set templates find: what a network must be better than.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <vector>

#include "datasets/resize.h"
#include "datasets/synthetic_detection.h"
#include "nn/box_metrics.h"
#include "nn/detection.h"

namespace tessera::datasets {
namespace {

constexpr std::int64_t kSide = 12;                         // of a template
constexpr double kSides[] = {10, 14, 20, 28, 40, 56, 80};  // of the boxes that are looked for

// A grey picture as the strength of its edges, which does not change when colours are exchanged.
struct Edges {
  std::int64_t width = 0, height = 0;
  std::vector<float> values;
};
Edges edges(const RgbView& picture, std::int64_t width, std::int64_t height) {
  Resizer resizer;
  RgbImage small;
  resizer.run({picture.width, picture.height, width, height, {0, 0, width, height}}, picture,
              small);
  const auto grey = [&](std::int64_t x, std::int64_t y) {
    const auto* p = small.row(std::clamp<std::int64_t>(y, 0, height - 1)) +
                    3 * std::clamp<std::int64_t>(x, 0, width - 1);
    return static_cast<float>(p[0]) + static_cast<float>(p[1]) + static_cast<float>(p[2]);
  };
  Edges out{width, height, {}};
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const float dx = grey(x + 1, y) - grey(x - 1, y), dy = grey(x, y + 1) - grey(x, y - 1);
      out.values.push_back(std::sqrt(dx * dx + dy * dy));
    }
  }
  return out;
}

// The window at (x, y), with mean 0 and norm 1.
std::vector<float> normalized(const Edges& from, std::int64_t x, std::int64_t y) {
  std::vector<float> out;
  double sum = 0, squares = 0;
  for (std::int64_t i = 0; i < kSide; ++i) {
    for (std::int64_t j = 0; j < kSide; ++j)
      out.push_back(from.values[static_cast<std::size_t>((y + i) * from.width + x + j)]);
  }
  for (const float v : out) sum += static_cast<double>(v);
  const auto mean = static_cast<float>(sum / static_cast<double>(out.size()));
  for (float& v : out) {
    v -= mean;
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const auto norm = static_cast<float>(std::sqrt(squares) + 1e-6);
  for (float& v : out) v /= norm;
  return out;
}

RgbView picture_of(const AnnotatedPictures& set, std::size_t i) {
  return {set.pixels.span<std::uint8_t>().data() + i * 3 * 128 * 128, 128, 128, 3 * 128};
}

// The mean window of each category, over the objects that fill most of a square box.
std::vector<std::vector<float>> templates_of(const AnnotatedPictures& set) {
  std::vector<std::vector<float>> out(set.set.categories.size(),
                                      std::vector<float>(kSide * kSide, 0.0f));
  for (std::size_t i = 0; i < set.set.images.size(); ++i) {
    for (const TrueBox& object : set.set.images[i].boxes) {
      const auto side = static_cast<std::int64_t>(std::max(object.box.width, object.box.height));
      const auto x = static_cast<std::int64_t>(object.box.x + object.box.width / 2) - side / 2,
                 y = static_cast<std::int64_t>(object.box.y + object.box.height / 2) - side / 2;
      if (side < kSide || x < 0 || y < 0 || x + side > 128 || y + side > 128) continue;
      const auto window =
          normalized(edges(picture_of(set, i).crop({x, y, side, side}), kSide, kSide), 0, 0);
      auto& sum = out[static_cast<std::size_t>(object.category - 1)];
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += window[k];
    }
  }
  for (auto& one : out) {
    double squares = 0;
    for (const float v : one) squares += static_cast<double>(v) * static_cast<double>(v);
    for (float& v : one) v /= static_cast<float>(std::sqrt(squares) + 1e-6);
  }
  return out;
}

TEST(SyntheticDetection, TemplatesFindLittle) {
  const DetectionSplit split = synthetic_detection({.train = 1500, .validation = 1, .test = 150});
  const auto templates = templates_of(split.train);
  nn::BoxEvaluation evaluation(split.test.set.category_ids());
  for (std::size_t i = 0; i < split.test.set.images.size(); ++i) {
    std::vector<DetectedBox> found;
    for (const double side : kSides) {
      const auto n = static_cast<std::int64_t>(128.0 * kSide / side);
      const Edges all = edges(picture_of(split.test, i), n, n);
      const double scale = 128.0 / static_cast<double>(n), box = scale * kSide;
      for (std::int64_t y = 0; y + kSide <= n; ++y) {
        for (std::int64_t x = 0; x + kSide <= n; ++x) {
          const auto window = normalized(all, x, y);
          for (std::size_t c = 0; c < templates.size(); ++c) {
            float score = 0;
            for (std::size_t k = 0; k < window.size(); ++k) score += window[k] * templates[c][k];
            if (score < 0.3f) continue;
            found.push_back(
                {{scale * static_cast<double>(x), scale * static_cast<double>(y), box, box},
                 static_cast<std::int64_t>(c) + 1,
                 static_cast<double>(score)});
          }
        }
      }
    }
    const auto& image = split.test.set.images[i];
    evaluation.add(image.id, image.boxes, nn::suppress_overlapping(std::move(found), 0.3));
  }
  const nn::BoxMetrics metrics = evaluation.metrics();
  std::cout << "templates: AP " << metrics.ap << ", AP50 " << metrics.ap50 << "\n";
  EXPECT_LT(metrics.ap, 0.15);
  EXPECT_GT(metrics.ap50, 0.0);  // they find something
}

}  // namespace
}  // namespace tessera::datasets
