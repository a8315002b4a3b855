// Ten shapes and ten textures: what the classes of synthetic_images are made of.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/rng.h"

namespace tessera::datasets {

inline constexpr std::array<std::string_view, 10> kShapes = {
    "disc", "square", "triangle", "star", "plus", "crescent", "bar", "ell", "bow tie", "horseshoe"};
inline constexpr std::array<std::string_view, 10> kTextures = {
    "plain", "outline", "halves", "stripes", "checks", "dots", "rings", "sectors", "ramp", "grain"};

// Distance of (x, y) to the outline of a shape centred at the origin, negative inside; exact near
// straight sides, elsewhere close to it. All shapes have the area kShapeArea.
float shape_distance(int shape, float x, float y);
inline constexpr float kShapeArea = 2.0f;
// How far a shape reaches from the origin.
float shape_reach(int shape);

// One texture with its random angle, phase and period.
class Texture {
 public:
  Texture(int kind, Rng& rng);

  struct Value {
    float second;   // share of the second colour, 0 to 1
    float opacity;  // 0 shows what is behind
  };
  // At (x, y) pixels from the centre of a shape of radius `size` pixels, at a signed distance of
  // `inside` pixels to its outline (negative inside).
  Value at(float x, float y, float inside, float size) const;

 private:
  int kind_;
  float cos_, sin_, phase_, period_;
  std::uint32_t salt_;
};

}  // namespace tessera::datasets
