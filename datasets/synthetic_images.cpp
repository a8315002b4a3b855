#include "datasets/synthetic_images.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "datasets/motifs.h"

namespace tessera::datasets {
namespace {

constexpr int kSide = 32;
constexpr int kPixels = kSide * kSide;
constexpr std::int64_t kMaxImages = 10'000'000;
constexpr float kPi = std::numbers::pi_v<float>;

// How hard the set is.
constexpr float kSizeLow = 7.0f, kSizeHigh = 11.0f;  // pixels
constexpr float kAspect = 0.12f;                     // largest stretch of one axis
constexpr float kOutside = 0.15f;                    // of its reach that may leave the frame
constexpr float kContrast = 100.0f;                  // least distance of a motif's colours, of 442
constexpr float kClutter = 60.0f;                    // largest change of the background's channels
constexpr int kMostSpecks = 4;
constexpr float kNoise = 7.0f;  // standard deviation, of 255

using Colour = std::array<float, 3>;

Colour any_colour(Rng& rng) {
  return {rng.uniform(0, 255), rng.uniform(0, 255), rng.uniform(0, 255)};
}

float distance(const Colour& a, const Colour& b) {
  float sum = 0;
  for (std::size_t c = 0; c < 3; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
  return std::sqrt(sum);
}

// At least kContrast away from each of `others`. The limit falls with every try, so this ends.
template <std::size_t N>
Colour other_colour(const std::array<Colour, N>& others, Rng& rng) {
  for (float limit = kContrast;; limit *= 0.98f) {
    const Colour out = any_colour(rng);
    if (std::all_of(others.begin(), others.end(),
                    [&](const Colour& other) { return distance(out, other) >= limit; })) {
      return out;
    }
  }
}

class Canvas {
 public:
  void set(int x, int y, const Colour& colour) { blend(x, y, colour, 1.0f); }
  void blend(int x, int y, const Colour& colour, float opacity) {
    float* pixel = &planes_[static_cast<std::size_t>(y * kSide + x)];
    for (std::size_t c = 0; c < 3; ++c, pixel += kPixels) *pixel += opacity * (colour[c] - *pixel);
  }

  // Adds the noise of a sensor: a triangle distribution, of two random bytes.
  void write(std::uint8_t* out, Rng& rng) const {
    constexpr float kByteDeviation = 104.5f;  // of the sum of two uniform bytes
    for (std::size_t i = 0; i < planes_.size(); i += 2) {
      const std::uint32_t bits = rng.next_u32();
      const std::uint32_t sums[] = {(bits & 255) + ((bits >> 8) & 255),
                                    ((bits >> 16) & 255) + (bits >> 24)};
      for (std::size_t j = 0; j < 2; ++j) {
        const float noise = (static_cast<float>(sums[j]) - 255.0f) * (kNoise / kByteDeviation);
        const float value = planes_[i + j] + noise + 0.5f;
        out[i + j] = static_cast<std::uint8_t>(std::clamp(value, 0.0f, 255.0f));
      }
    }
  }

 private:
  std::array<float, 3 * kPixels> planes_{};
};

// Two colours mixed by a smooth random field (a lattice of values, interpolated) or by stripes.
std::array<Colour, 2> draw_background(Canvas& canvas, Rng& rng) {
  const Colour one = any_colour(rng);
  Colour two = one;
  for (float& c : two) c = std::clamp(c + rng.uniform(-kClutter, kClutter), 0.0f, 255.0f);
  auto fill = [&](auto&& share) {
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const float s = share(static_cast<float>(x), static_cast<float>(y));
        canvas.set(x, y,
                   {one[0] + s * (two[0] - one[0]), one[1] + s * (two[1] - one[1]),
                    one[2] + s * (two[2] - one[2])});
      }
    }
  };
  if (rng.below(3) == 0) {
    const float k = 2 * kPi / rng.uniform(5.0f, 20.0f), angle = rng.uniform(0, kPi);
    const float kx = k * std::cos(angle), ky = k * std::sin(angle), phase = rng.uniform(0, 2 * kPi);
    fill([&](float x, float y) { return 0.5f + 0.5f * std::sin(kx * x + ky * y + phase); });
  } else {
    constexpr int kMost = 8;
    const int cells = 1 + static_cast<int>(rng.below(kMost - 1));
    std::array<float, (kMost + 1) * (kMost + 1)> lattice;
    for (float& v : lattice) v = rng.uniform();
    const float step = static_cast<float>(cells) / kSide;
    fill([&](float x, float y) {
      const int i = static_cast<int>(x * step), j = static_cast<int>(y * step);
      const float u = x * step - static_cast<float>(i), v = y * step - static_cast<float>(j);
      const float* at = &lattice[static_cast<std::size_t>(j * (kMost + 1) + i)];
      const float top = at[0] + u * (at[1] - at[0]);
      const float bottom = at[kMost + 1] + u * (at[kMost + 2] - at[kMost + 1]);
      return top + v * (bottom - top);
    });
  }
  return {one, two};
}

// Short strokes and dots of any colour.
void draw_specks(Canvas& canvas, Rng& rng) {
  for (auto count = rng.below(kMostSpecks + 1); count > 0; --count) {
    const Colour colour = any_colour(rng);
    const float x0 = rng.uniform(0, kSide), y0 = rng.uniform(0, kSide);
    const float length = rng.uniform(0, 9), angle = rng.uniform(0, 2 * kPi);
    const float dx = length * std::cos(angle), dy = length * std::sin(angle);
    const float radius = rng.uniform(0.5f, 1.6f);
    const float inverse = 1.0f / std::max(length * length, 1e-6f);
    auto clipped = [](float v) { return std::clamp(static_cast<int>(v), 0, kSide); };
    const float reach = radius + 1;
    for (int y = clipped(std::min(y0, y0 + dy) - reach);
         y < clipped(std::max(y0, y0 + dy) + reach + 1); ++y) {
      for (int x = clipped(std::min(x0, x0 + dx) - reach);
           x < clipped(std::max(x0, x0 + dx) + reach + 1); ++x) {
        const float px = static_cast<float>(x) + 0.5f - x0, py = static_cast<float>(y) + 0.5f - y0;
        const float t = std::clamp((px * dx + py * dy) * inverse, 0.0f, 1.0f);
        const float ex = px - t * dx, ey = py - t * dy;
        const float inside = radius + 0.5f - std::sqrt(ex * ex + ey * ey);
        canvas.blend(x, y, colour, std::clamp(inside, 0.0f, 1.0f));
      }
    }
  }
}

void draw_motif(Canvas& canvas, int shape, int kind, const std::array<Colour, 2>& behind,
                Rng& rng) {
  const Colour first = other_colour(behind, rng);
  const Colour second = other_colour(std::array{behind[0], behind[1], first}, rng);
  const float size = rng.uniform(kSizeLow, kSizeHigh);
  const float stretch = 1 + rng.uniform(-kAspect, kAspect);
  const float angle = rng.uniform(0, 2 * kPi), c = std::cos(angle), s = std::sin(angle);
  const float margin = std::min(kSide / 2.0f, (1 - kOutside) * size * shape_reach(shape));
  const float x0 = rng.uniform(margin, kSide - margin), y0 = rng.uniform(margin, kSide - margin);
  const Texture texture(kind, rng);
  const float reach = size * shape_reach(shape) * (1 + kAspect) + 1;
  auto clipped = [](float v) { return std::clamp(static_cast<int>(v), 0, kSide); };
  for (int y = clipped(y0 - reach); y < clipped(y0 + reach + 1); ++y) {
    for (int x = clipped(x0 - reach); x < clipped(x0 + reach + 1); ++x) {
      const float px = static_cast<float>(x) + 0.5f - x0, py = static_cast<float>(y) + 0.5f - y0;
      const float u = (c * px + s * py) * stretch, v = (c * py - s * px) / stretch;
      const float inside = size * shape_distance(shape, u / size, v / size);
      if (inside >= 0.5f) continue;
      const Texture::Value value = texture.at(u, v, inside, size);
      const float opacity = value.opacity * std::min(1.0f, 0.5f - inside);
      const float t = value.second;
      canvas.blend(x, y,
                   {first[0] + t * (second[0] - first[0]), first[1] + t * (second[1] - first[1]),
                    first[2] + t * (second[2] - first[2])},
                   opacity);
    }
  }
}

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
      Canvas canvas;
      const auto behind = draw_background(canvas, rng);
      draw_specks(canvas, rng);
      draw_motif(canvas, shape, texture, behind, rng);
      canvas.write(images.data() + i * 3 * kPixels, rng);
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
