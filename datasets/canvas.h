// Colour images drawn with shapes, textures and clutter: what the built-in sets are made with.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.h"
#include "datasets/motifs.h"

namespace tessera::datasets {

using Colour = std::array<float, 3>;  // of 255

Colour any_colour(Rng& rng);
// Far from each of `others`; how far falls with every try, so this ends.
Colour other_colour(std::span<const Colour> others, Rng& rng);

// A square image of three planes.
class Canvas {
 public:
  explicit Canvas(int side)
      : side_(side), planes_(3 * static_cast<std::size_t>(side) * static_cast<std::size_t>(side)) {}

  int side() const { return side_; }
  void set(int x, int y, const Colour& colour) { blend(x, y, colour, 1.0f); }
  void blend(int x, int y, const Colour& colour, float opacity);
  // A coordinate as that of a pixel, or the side.
  int clipped(float at) const;
  // The planes, with the noise of a sensor added. The side is even.
  void write(std::span<std::uint8_t> out, Rng& rng) const;

 private:
  int side_;
  std::vector<float> planes_;
};

// Two colours mixed by a smooth random field (a lattice of values, interpolated) or by stripes.
std::array<Colour, 2> draw_background(Canvas& canvas, Rng& rng);
// Short strokes and dots of any colour, at most so many.
void draw_specks(Canvas& canvas, int most, Rng& rng);

// A shape in a texture (datasets/motifs.h), somewhere in a canvas.
class Motif {
 public:
  // In colours unlike those behind it, `low` to `high` pixels to a unit of shape_distance. At most
  // some 15 % of its reach leaves the canvas.
  Motif(const Canvas& canvas, int shape, int kind, std::span<const Colour> behind, float low,
        float high, Rng& rng);
  // Calls paint(x, y, colour, opacity) for the pixels that it covers, of opacity above 0.
  template <class Paint>
  void draw(const Canvas& canvas, Paint&& paint) const {
    Colour colour;
    for (int y = canvas.clipped(y0_ - reach_); y < canvas.clipped(y0_ + reach_ + 1); ++y) {
      for (int x = canvas.clipped(x0_ - reach_); x < canvas.clipped(x0_ + reach_ + 1); ++x) {
        if (const float opacity = at(x, y, colour); opacity > 0) paint(x, y, colour, opacity);
      }
    }
  }

 private:
  float at(int x, int y, Colour& colour) const;  // its opacity

  int shape_;
  Colour first_, second_;
  float size_, stretch_, cos_, sin_, x0_, y0_, reach_;
  Texture texture_;
};

}  // namespace tessera::datasets
