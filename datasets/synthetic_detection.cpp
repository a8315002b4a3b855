#include "datasets/synthetic_detection.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "datasets/canvas.h"
#include "datasets/motifs.h"

namespace tessera::datasets {
namespace {

constexpr int kSide = 128;
constexpr std::size_t kPixels = kSide * kSide;
constexpr std::int64_t kMostPictures = 1'000'000;
// Without the bar and the bow tie: small ones are what clutter looks like.
constexpr int kCategories[] = {0, 1, 2, 3, 4, 5, 7, 9};
constexpr int kMostObjects = 8, kMostSpecks = 24, kTries = 30;
constexpr double kLeastSide = 8, kMostSide = 96, kLeastSeen = 0.5;

// Pixels that an object covers, more than half.
struct Mask {
  std::vector<std::uint8_t> covered = std::vector<std::uint8_t>(kPixels);
  std::int64_t area = 0;
  int left = kSide, top = kSide, right = -1, bottom = -1;

  void add(int x, int y) {
    covered[static_cast<std::size_t>(y * kSide + x)] = 1;
    ++area;
    left = std::min(left, x), right = std::max(right, x);
    top = std::min(top, y), bottom = std::max(bottom, y);
  }
  int longer_side() const { return std::max(right - left, bottom - top) + 1; }
};

struct Object {
  int category;
  std::int64_t drawn;  // pixels, once
  Mask seen;
};

// What is left of an object's mask when another covers part of it.
Mask without(const Mask& mask, const Mask& cover) {
  Mask out;
  for (int y = mask.top; y <= mask.bottom; ++y) {
    for (int x = mask.left; x <= mask.right; ++x) {
      const auto at = static_cast<std::size_t>(y * kSide + x);
      if (mask.covered[at] && !cover.covered[at]) out.add(x, y);
    }
  }
  return out;
}

// Draws an object in front of the others, unless it hides too much of one, or has another size.
bool add_object(Canvas& canvas, std::span<const Colour> behind, std::vector<Object>& objects,
                Rng& rng) {
  const auto category = static_cast<int>(rng.below(std::size(kCategories)));
  const int shape = kCategories[category], kind = static_cast<int>(rng.below(kTextures.size()));
  // A side of the box is at most twice the reach, and mostly little less.
  const double side =
      kLeastSide * std::pow(kMostSide / kLeastSide, static_cast<double>(rng.uniform()));
  const auto size = static_cast<float>(side * 0.55) / shape_reach(shape);
  const Motif motif(canvas, shape, kind, behind, size, size * 1.001f, rng);
  Object object{category, 0, {}};
  motif.draw(canvas, [&](int x, int y, const Colour&, float opacity) {
    if (opacity > 0.5f) object.seen.add(x, y);
  });
  object.drawn = object.seen.area;
  const int longer = object.seen.longer_side();
  if (longer < kLeastSide || longer > kMostSide) return false;
  std::vector<Mask> left;
  for (const Object& other : objects) {
    left.push_back(without(other.seen, object.seen));
    if (static_cast<double>(left.back().area) < kLeastSeen * static_cast<double>(other.drawn) ||
        left.back().longer_side() < kLeastSide)
      return false;
  }
  for (std::size_t i = 0; i < objects.size(); ++i) objects[i].seen = std::move(left[i]);
  motif.draw(canvas, [&](int x, int y, const Colour& colour, float opacity) {
    canvas.blend(x, y, colour, opacity);
  });
  objects.push_back(std::move(object));
  return true;
}

CocoImage draw(const std::string& name, std::int64_t i, std::uint64_t seed,
               std::span<std::uint8_t> pixels) {
  Rng rng(seed, stable_id(cat(name, "/", i)));
  Canvas canvas(kSide);
  const auto behind = draw_background(canvas, rng);
  draw_specks(canvas, kMostSpecks, rng);
  std::vector<Object> objects;
  const std::size_t wanted = 1 + rng.below(kMostObjects);
  for (int tries = 0; objects.size() < wanted && (tries < kTries || objects.empty()); ++tries)
    add_object(canvas, behind, objects, rng);
  std::vector<std::uint8_t> planes(3 * kPixels);
  canvas.write(planes, rng);
  for (std::size_t p = 0; p < kPixels; ++p) {
    for (std::size_t c = 0; c < 3; ++c) pixels[3 * p + c] = planes[c * kPixels + p];
  }
  CocoImage out{i + 1, cat(i + 1, ".png"), kSide, kSide, {}};
  for (const Object& object : objects) {
    const Mask& m = object.seen;
    out.boxes.push_back(
        {{static_cast<double>(m.left), static_cast<double>(m.top),
          static_cast<double>(m.right - m.left + 1), static_cast<double>(m.bottom - m.top + 1)},
         object.category + 1,
         static_cast<double>(m.area),
         false,
         (i + 1) * 10 + std::ssize(out.boxes)});
  }
  return out;
}

AnnotatedPictures generate(const char* part, std::int64_t n, std::uint64_t seed) {
  check(n >= 1 && n <= kMostPictures, "[synthetic_detection] ", part, ": expected 1 to ",
        kMostPictures, " pictures, got ", n);
  AnnotatedPictures out{{}, Tensor(DType::u8, {n, kSide, kSide, 3})};
  out.set.name = cat("synthetic_detection/", part);
  for (const int shape : kCategories) {
    out.set.categories.push_back({std::ssize(out.set.categories) + 1,
                                  std::string(kShapes[static_cast<std::size_t>(shape)])});
  }
  out.set.images.resize(static_cast<std::size_t>(n));
  const auto pixels = out.pixels.span<std::uint8_t>();
  parallel_for(n, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      stop_if_interrupted();
      const auto at = static_cast<std::size_t>(i);
      out.set.images[at] =
          draw(out.set.name, i, seed, pixels.subspan(at * 3 * kPixels, 3 * kPixels));
    }
  });
  return out;
}

}  // namespace

DetectionSplit synthetic_detection(const SyntheticDetection& options) {
  return {generate("train", options.train, options.seed),
          generate("validation", options.validation, options.seed),
          generate("test", options.test, options.seed)};
}

}  // namespace tessera::datasets
