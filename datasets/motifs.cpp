#include "datasets/motifs.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace tessera::datasets {
namespace {

constexpr float kPi = std::numbers::pi_v<float>;

float disc(float x, float y, float r) {
  return std::sqrt(x * x + y * y) - r;
}

// Half sides a and b.
float box(float x, float y, float a, float b) {
  const float dx = std::abs(x) - a, dy = std::abs(y) - b;
  return std::min(std::max(dx, dy), 0.0f) + std::sqrt(std::max(dx, 0.0f) * std::max(dx, 0.0f) +
                                                      std::max(dy, 0.0f) * std::max(dy, 0.0f));
}

// A regular polygon's side lies at distance r in each of n directions.
float polygon(float x, float y, int n, float r) {
  float out = -r;
  for (int i = 0; i < n; ++i) {
    const float angle = 2 * kPi * static_cast<float>(i) / static_cast<float>(n);
    out = std::max(out, x * std::sin(angle) + y * std::cos(angle) - r);
  }
  return out;
}

// Five points at radius 1 and as many corners between them at radius `waist`.
float star(float x, float y, float waist) {
  constexpr float kSector = kPi / 5;
  // Fold into one half of one point, which lies along +x.
  const float radius = std::sqrt(x * x + y * y);
  float angle = std::abs(std::remainder(std::atan2(y, x), 2 * kSector));
  const float px = radius * std::cos(angle), py = radius * std::sin(angle);
  // The edge from the tip (1, 0) to the corner.
  const float ex = waist * std::cos(kSector) - 1, ey = waist * std::sin(kSector);
  return ((px - 1) * ey - py * ex) / std::sqrt(ex * ex + ey * ey);
}

float horseshoe(float x, float y) {
  constexpr float kRadius = 0.7f, kHalfWidth = 0.27f, kLegs = 0.75f;
  if (y < 0) return std::abs(disc(x, y, kRadius)) - kHalfWidth;
  return box(std::abs(x) - kRadius, y, kHalfWidth, kLegs);
}

float raw_distance(int shape, float x, float y) {
  switch (shape) {
    case 0:
      return disc(x, y, 1);
    case 1:
      return box(x, y, 1, 1);
    case 2:
      return polygon(x, y, 3, 0.6f);
    case 3:
      return star(x, y, 0.42f);
    case 4:
      return std::min(box(x, y, 1, 0.3f), box(x, y, 0.3f, 1));
    case 5:
      return std::max(disc(x, y, 1), -disc(x - 0.55f, y, 0.85f));
    case 6:
      return box(x, y, 1.1f, 0.3f);
    case 7:
      return std::min(box(x + 0.45f, y, 0.3f, 0.95f), box(x, y - 0.65f, 0.75f, 0.3f));
    case 8:
      // Wedges that meet in a narrow waist; 0.8 is about the cosine of their slope.
      return std::max(std::abs(x) - 1, 0.8f * (std::abs(y) - 0.08f - 0.75f * std::abs(x)));
    default:
      return horseshoe(x, y);
  }
}

struct Measure {
  float scale;  // from a unit of raw_distance to one of shape_distance
  float reach;
};

// Area and reach are counted on a grid; the unit follows from the area.
Measure measure(int shape) {
  constexpr int kSteps = 300;
  constexpr float kSide = 3.2f, kStep = kSide / kSteps;
  float cells = 0, reach = 0;
  for (int i = 0; i < kSteps; ++i) {
    for (int j = 0; j < kSteps; ++j) {
      const float x = (static_cast<float>(i) + 0.5f) * kStep - kSide / 2;
      const float y = (static_cast<float>(j) + 0.5f) * kStep - kSide / 2;
      const float inside = raw_distance(shape, x, y);
      cells += std::clamp(0.5f - inside / kStep, 0.0f, 1.0f);
      if (inside > 0) continue;
      reach = std::max(reach, std::sqrt(x * x + y * y));
    }
  }
  const float scale = std::sqrt(kShapeArea / (cells * kStep * kStep));
  return {scale, reach * scale};
}

const Measure& measure_of(int shape) {
  static const auto all = [] {
    std::array<Measure, kShapes.size()> out{};
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = measure(static_cast<int>(i));
    return out;
  }();
  return all[static_cast<std::size_t>(shape)];
}

// A wave of period 1 with flat tops, 0 to 1; its flanks are about a pixel wide.
float square_wave(float t) {
  return std::clamp(0.5f + 1.5f * std::sin(2 * kPi * t), 0.0f, 1.0f);
}

}  // namespace

float shape_distance(int shape, float x, float y) {
  const float scale = measure_of(shape).scale;
  return scale * raw_distance(shape, x / scale, y / scale);
}

float shape_reach(int shape) {
  return measure_of(shape).reach;
}

Texture::Texture(int kind, Rng& rng) : kind_(kind) {
  TESSERA_ASSERT(kind >= 0 && kind < static_cast<int>(kTextures.size()));
  const float angle = rng.uniform(0, 2 * kPi);
  cos_ = std::cos(angle);
  sin_ = std::sin(angle);
  phase_ = rng.uniform();
  period_ = rng.uniform(4.0f, 5.5f);  // pixels
  salt_ = rng.next_u32();
}

Texture::Value Texture::at(float x, float y, float inside, float size) const {
  const float u = cos_ * x + sin_ * y, v = cos_ * y - sin_ * x;
  const float a = u / period_ + phase_, b = v / period_ + phase_;
  switch (kind_) {
    case 0:
      return {0, 1};
    case 1:
      return {0, std::clamp(inside + 0.4f * period_ + 0.5f, 0.0f, 1.0f)};
    case 2:
      return {std::clamp(0.5f + u, 0.0f, 1.0f), 1};
    case 3:
      return {square_wave(a), 1};
    case 4: {
      const float p = square_wave(0.7f * a), q = square_wave(0.7f * b);
      return {p + q - 2 * p * q, 1};
    }
    case 5: {
      const float p = a - std::floor(a) - 0.5f, q = b - std::floor(b) - 0.5f;
      return {std::clamp(0.5f + 0.3f * period_ - period_ * std::sqrt(p * p + q * q), 0.0f, 1.0f),
              1};
    }
    case 6:
      return {square_wave(-inside / period_ + 0.25f), 1};
    case 7:
      return {std::clamp(0.5f + 0.25f * std::sqrt(x * x + y * y) * std::sin(3 * std::atan2(v, u)),
                         0.0f, 1.0f),
              1};
    case 8:
      return {std::clamp(0.5f + 0.6f * u / size, 0.0f, 1.0f), 1};
    default: {
      // A hash of the cell of 1.5 pixels.
      const auto cell = [&](float w) { return static_cast<std::uint32_t>(w / 1.5f + 1000.0f); };
      std::uint32_t hash = (cell(u) * 0x9E3779B1u) ^ (cell(v) * 0x85EBCA77u) ^ salt_;
      hash = (hash ^ (hash >> 15)) * 0x2C1B3C6Du;
      return {static_cast<float>(hash >> 31), 1};
    }
  }
}

}  // namespace tessera::datasets
