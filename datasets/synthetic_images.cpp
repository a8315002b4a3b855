#include "datasets/synthetic_images.h"

#include <string>
#include <utility>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "datasets/canvas.h"

namespace tessera::datasets {
namespace {

constexpr int kSide = 32;
constexpr int kPixels = kSide * kSide;
constexpr std::int64_t kMaxImages = 10'000'000;

// How hard the set is.
constexpr float kSizeLow = 7.0f, kSizeHigh = 11.0f;  // pixels
constexpr int kMostSpecks = 4;

Dataset generate(const std::string& split, std::int64_t n, const SyntheticImages& options) {
  Dataset out{cat("synthetic_images", options.classes, "/", split),
              Tensor(DType::u8, {n, 3, kSide, kSide}), Tensor(DType::s32, {n}), options.classes};
  const auto images = out.images.span<std::uint8_t>();
  const auto labels = out.labels.span<std::int32_t>();
  parallel_for(n, 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      stop_if_interrupted();
      const int label = static_cast<int>(i % options.classes);
      Rng rng(options.seed, stable_id(cat(out.name, "/", i)));
      const int shape = options.classes == 10 ? label : label / 10;
      const int texture =
          options.classes == 10 ? static_cast<int>(rng.below(kTextures.size())) : label % 10;
      Canvas canvas(kSide);
      const auto behind = draw_background(canvas, rng);
      draw_specks(canvas, kMostSpecks, rng);
      const Motif motif(canvas, shape, texture, behind, kSizeLow, kSizeHigh, rng);
      motif.draw(canvas, [&](int x, int y, const Colour& colour, float opacity) {
        canvas.blend(x, y, colour, opacity);
      });
      canvas.write(images.subspan(static_cast<std::size_t>(i) * 3 * kPixels, 3 * kPixels), rng);
      labels[static_cast<std::size_t>(i)] = label;
    }
  });
  return out;
}

}  // namespace

Split synthetic_images(const SyntheticImages& options) {
  check(options.classes == 10 || options.classes == 100,
        "[synthetic_images] expected 10 or 100 classes, got ", options.classes);
  for (const auto& [split, n] : {std::pair{"train", options.train}, {"test", options.test}}) {
    check(n >= 1 && n <= kMaxImages, "[synthetic_images] ", split, ": expected 1 to ", kMaxImages,
          " images, got ", n);
  }
  return {generate("train", options.train, options), generate("test", options.test, options)};
}

}  // namespace tessera::datasets
