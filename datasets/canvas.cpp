#include "datasets/canvas.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tessera::datasets {

namespace {

constexpr float kPi = std::numbers::pi_v<float>;

// How hard the sets are.
constexpr float kAspect = 0.12f;     // largest stretch of one axis
constexpr float kOutside = 0.15f;    // of a motif's reach that may leave the frame
constexpr float kContrast = 100.0f;  // least distance of a motif's colours, of 442
constexpr float kClutter = 60.0f;    // largest change of the background's channels
constexpr float kNoise = 7.0f;       // standard deviation, of 255

float distance(const Colour& a, const Colour& b) {
  float sum = 0;
  for (std::size_t c = 0; c < 3; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
  return std::sqrt(sum);
}

}  // namespace

Colour any_colour(Rng& rng) {
  return {rng.uniform(0, 255), rng.uniform(0, 255), rng.uniform(0, 255)};
}

Colour other_colour(std::span<const Colour> others, Rng& rng) {
  for (float limit = kContrast;; limit *= 0.98f) {
    const Colour out = any_colour(rng);
    if (std::all_of(others.begin(), others.end(),
                    [&](const Colour& other) { return distance(out, other) >= limit; })) {
      return out;
    }
  }
}

void Canvas::blend(int x, int y, const Colour& colour, float opacity) {
  const std::size_t pixels = planes_.size() / 3;
  float* pixel = &planes_[static_cast<std::size_t>(y * side_ + x)];
  for (std::size_t c = 0; c < 3; ++c, pixel += pixels) *pixel += opacity * (colour[c] - *pixel);
}

int Canvas::clipped(float at) const {
  return std::clamp(static_cast<int>(at), 0, side_);
}

// A triangle distribution, of two random bytes.
void Canvas::write(std::span<std::uint8_t> out, Rng& rng) const {
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

std::array<Colour, 2> draw_background(Canvas& canvas, Rng& rng) {
  const int side = canvas.side();
  const Colour one = any_colour(rng);
  Colour two = one;
  for (float& c : two) c = std::clamp(c + rng.uniform(-kClutter, kClutter), 0.0f, 255.0f);
  auto fill = [&](auto&& share) {
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x) {
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
    const float step = static_cast<float>(cells) / static_cast<float>(side);
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

void draw_specks(Canvas& canvas, int most, Rng& rng) {
  const auto side = static_cast<float>(canvas.side());
  for (auto count = rng.below(static_cast<std::uint64_t>(most) + 1); count > 0; --count) {
    const Colour colour = any_colour(rng);
    const float x0 = rng.uniform(0, side), y0 = rng.uniform(0, side);
    const float length = rng.uniform(0, 9), angle = rng.uniform(0, 2 * kPi);
    const float dx = length * std::cos(angle), dy = length * std::sin(angle);
    const float radius = rng.uniform(0.5f, 1.6f);
    const float inverse = 1.0f / std::max(length * length, 1e-6f);
    const float reach = radius + 1;
    for (int y = canvas.clipped(std::min(y0, y0 + dy) - reach);
         y < canvas.clipped(std::max(y0, y0 + dy) + reach + 1); ++y) {
      for (int x = canvas.clipped(std::min(x0, x0 + dx) - reach);
           x < canvas.clipped(std::max(x0, x0 + dx) + reach + 1); ++x) {
        const float px = static_cast<float>(x) + 0.5f - x0, py = static_cast<float>(y) + 0.5f - y0;
        const float t = std::clamp((px * dx + py * dy) * inverse, 0.0f, 1.0f);
        const float ex = px - t * dx, ey = py - t * dy;
        const float inside = radius + 0.5f - std::sqrt(ex * ex + ey * ey);
        canvas.blend(x, y, colour, std::clamp(inside, 0.0f, 1.0f));
      }
    }
  }
}

Motif::Motif(const Canvas& canvas, int shape, int kind, std::span<const Colour> behind, float low,
             float high, Rng& rng)
    : shape_(shape),
      first_(other_colour(behind, rng)),
      second_([&] {
        std::vector<Colour> others(behind.begin(), behind.end());
        others.push_back(first_);
        return other_colour(others, rng);
      }()),
      size_(rng.uniform(low, high)),
      stretch_(1 + rng.uniform(-kAspect, kAspect)),
      texture_([&] {
        const auto side = static_cast<float>(canvas.side());
        const float angle = rng.uniform(0, 2 * kPi);
        cos_ = std::cos(angle);
        sin_ = std::sin(angle);
        const float margin = std::min(side / 2.0f, (1 - kOutside) * size_ * shape_reach(shape));
        x0_ = rng.uniform(margin, side - margin);
        y0_ = rng.uniform(margin, side - margin);
        reach_ = size_ * shape_reach(shape) * (1 + kAspect) + 1;
        return Texture(kind, rng);
      }()) {}

float Motif::at(int x, int y, Colour& colour) const {
  const float px = static_cast<float>(x) + 0.5f - x0_, py = static_cast<float>(y) + 0.5f - y0_;
  const float u = (cos_ * px + sin_ * py) * stretch_, v = (cos_ * py - sin_ * px) / stretch_;
  const float inside = size_ * shape_distance(shape_, u / size_, v / size_);
  if (inside >= 0.5f) return 0;
  const Texture::Value value = texture_.at(u, v, inside, size_);
  const float t = value.second;
  for (std::size_t c = 0; c < 3; ++c) colour[c] = first_[c] + t * (second_[c] - first_[c]);
  return value.opacity * std::min(1.0f, 0.5f - inside);
}

}  // namespace tessera::datasets
