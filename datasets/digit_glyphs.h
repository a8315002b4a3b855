// Pen strokes of the ten digits in several handwriting styles: the shapes of synthetic_digits.
#pragma once

#include <array>
#include <span>
#include <vector>

namespace tessera::datasets {

struct Point {
  float x = 0, y = 0;
};

// One pen stroke: a spline through `points` with a corner where a point repeats.
struct Stroke {
  // Index into Glyph::points. Strokes that meet in a point share it, so moving it keeps them
  // joined.
  std::vector<int> points;
  bool smooth = true;  // false: straight lines between the points
};

// One way to write a digit, in a box [0, 1] x [0, 1] with y downwards.
struct Glyph {
  std::vector<Point> points;
  std::vector<Stroke> strokes;
};

// Every style of a digit 0..9; parsed once, safe to call from several threads.
std::span<const Glyph> glyphs(int digit);

// Appends the stroke as a polyline, with moved points in place of the glyph's own (the same count).
void flatten(const Stroke& stroke, std::span<const Point> points, std::vector<Point>& polyline);

}  // namespace tessera::datasets
