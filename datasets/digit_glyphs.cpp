#include "datasets/digit_glyphs.h"

#include <algorithm>
#include <sstream>
#include <string>

#include "core/error.h"

namespace tessera::datasets {
namespace {

// Strokes are separated by '|'. S: smooth spline, L: straight lines; then x y pairs.
struct Style {
  int digit;
  const char* strokes;
};

constexpr Style kStyles[] = {
    // 0: round, narrow, open with overlapping ends.
    {0, "S .5 .02 .2 .18 .1 .5 .2 .82 .5 .98 .8 .82 .9 .5 .8 .18 .5 .02"},
    {0, "S .55 .02 .32 .2 .24 .55 .3 .85 .46 .98 .68 .82 .76 .45 .7 .15 .55 .02"},
    {0, "S .68 .1 .42 .04 .16 .3 .12 .7 .4 .97 .74 .84 .88 .46 .74 .14 .5 .1"},
    // 1: bare, with a flag, with a flag and a foot.
    {1, "L .5 .02 .5 .98"},
    {1, "L .26 .26 .54 .03 .54 .98"},
    {1, "L .28 .22 .52 .03 .52 .97 | L .22 .97 .82 .97"},
    // 2: sharp foot, looped foot, flat top with a wavy foot.
    {2, "S .12 .24 .3 .05 .62 .03 .84 .24 .72 .5 .42 .74 .12 .96 .12 .96 .9 .96"},
    {2, "S .15 .22 .36 .05 .66 .05 .8 .27 .66 .58 .36 .86 .15 .93 .12 .8 .28 .76 .56 .9 .92 .94"},
    {2, "S .14 .1 .5 .04 .82 .12 .82 .36 .5 .66 .14 .92 .14 .92 .5 .86 .9 .97"},
    // 3: two bows with a notch, flat top, one flowing line.
    {3, "S .15 .15 .45 .02 .8 .15 .76 .38 .42 .48 .42 .48 .8 .58 .86 .82 .5 .98 .12 .85"},
    {3, "S .15 .05 .15 .05 .82 .05 .82 .05 .44 .4 .44 .4 .8 .5 .88 .75 .58 .97 .12 .86"},
    {3, "S .2 .1 .6 .03 .84 .2 .66 .42 .5 .48 .74 .56 .88 .76 .6 .96 .14 .93"},
    // 4: open, closed, open with a rounded corner.
    {4, "L .22 .05 .12 .58 .9 .58 | L .7 .28 .68 .98"},
    {4, "L .66 .98 .66 .03 .08 .66 .94 .66"},
    {4, "S .22 .05 .14 .38 .3 .56 .78 .5 | L .82 .08 .7 .98"},
    // 5: one stroke, separate roof, rounded like an S.
    {5, "S .82 .04 .82 .04 .26 .04 .26 .04 .2 .45 .2 .45 .5 .37 .86 .6 .78 .88 .45 .98 .12 .86"},
    {5, "S .3 .06 .3 .06 .24 .42 .24 .42 .6 .38 .85 .62 .7 .92 .35 .97 .1 .85 | L .3 .06 .88 .1"},
    {5, "S .82 .1 .46 .04 .22 .2 .34 .42 .7 .52 .84 .74 .6 .95 .14 .9"},
    // 6: curved stem, straight stem, small bowl.
    {6, "S .7 .04 .36 .25 .14 .6 .25 .9 .55 .97 .82 .8 .75 .58 .48 .5 .2 .66"},
    {6, "S .6 .02 .32 .3 .16 .68 .34 .96 .7 .92 .82 .7 .6 .54 .32 .6 .18 .76"},
    {6, "S .44 .02 .24 .36 .2 .76 .44 .97 .74 .86 .72 .66 .48 .6 .24 .76"},
    // 7: plain, with a bar, with a serif, with a curved stem.
    {7, "L .12 .06 .86 .06 .4 .98"},
    {7, "L .12 .06 .86 .06 .42 .98 | L .3 .5 .8 .48"},
    {7, "L .12 .22 .14 .06 .86 .07 .44 .98"},
    {7, "S .1 .1 .1 .1 .5 .12 .88 .05 .88 .05 .6 .4 .48 .98"},
    // 8: one crossing line, two rings, narrow.
    {8, "S .78 .16 .46 .02 .2 .2 .5 .47 .84 .74 .5 .98 .16 .76 .5 .47 .78 .28 .78 .16"},
    {8,
     "S .5 .02 .26 .12 .26 .36 .5 .47 .74 .36 .74 .12 .5 .02 | "
     "S .5 .47 .2 .6 .2 .87 .5 .98 .8 .87 .8 .6 .5 .47"},
    {8, "S .7 .08 .4 .06 .34 .28 .56 .5 .7 .76 .48 .97 .28 .8 .46 .52 .68 .3 .7 .08"},
    // 9: straight stem, hooked tail, slanted with an open ring.
    {9, "S .8 .25 .56 .03 .2 .14 .18 .42 .5 .52 .8 .25 .8 .25 .74 .98"},
    {9, "S .82 .2 .5 .03 .18 .2 .24 .46 .56 .5 .82 .2 .82 .2 .8 .7 .56 .97 .2 .9"},
    {9, "S .7 .1 .36 .06 .2 .3 .38 .5 .66 .4 .82 .08 .82 .08 .66 .5 .5 .98"},
};

constexpr int kCurveSteps = 6;  // line pieces between two points of a spline

Glyph parse(const char* text) {
  Glyph glyph;
  std::istringstream in(text);
  std::string word;
  while (in >> word) {
    if (word == "|") continue;
    if (word == "S" || word == "L") {
      glyph.strokes.push_back({{}, word == "S"});
      continue;
    }
    Point p{std::stof(word), 0};
    in >> p.y;
    TESSERA_ASSERT(in && !glyph.strokes.empty());
    const auto known = std::find_if(glyph.points.begin(), glyph.points.end(),
                                    [&](Point q) { return q.x == p.x && q.y == p.y; });
    glyph.strokes.back().points.push_back(static_cast<int>(known - glyph.points.begin()));
    if (known == glyph.points.end()) glyph.points.push_back(p);
  }
  return glyph;
}

// A cubic Bezier from b to c with Catmull-Rom tangents.
Point curve(Point a, Point b, Point c, Point d, float t) {
  const float s = 1 - t;
  const float wb = s * s * s, w1 = 3 * s * s * t, w2 = 3 * s * t * t, wc = t * t * t;
  auto at = [&](float a, float b, float c, float d) {
    return wb * b + w1 * (b + (c - a) / 6) + w2 * (c - (d - b) / 6) + wc * c;
  };
  return {at(a.x, b.x, c.x, d.x), at(a.y, b.y, c.y, d.y)};
}

}  // namespace

std::span<const Glyph> glyphs(int digit) {
  TESSERA_ASSERT(digit >= 0 && digit <= 9);
  static const auto table = [] {
    std::array<std::vector<Glyph>, 10> out;
    for (const Style& style : kStyles) {
      out[static_cast<std::size_t>(style.digit)].push_back(parse(style.strokes));
    }
    return out;
  }();
  return table[static_cast<std::size_t>(digit)];
}

void flatten(const Stroke& stroke, std::span<const Point> points, std::vector<Point>& polyline) {
  const auto& ids = stroke.points;
  const std::size_t n = ids.size();
  const bool closed = ids.front() == ids.back();
  auto point = [&](std::size_t i) { return points[static_cast<std::size_t>(ids[i])]; };
  polyline.push_back(point(0));
  for (std::size_t i = 0; i + 1 < n; ++i) {
    if (ids[i] == ids[i + 1]) continue;
    const bool corner_before = i > 0 ? ids[i - 1] == ids[i] : !closed;
    const bool corner_after = i + 2 < n ? ids[i + 1] == ids[i + 2] : !closed;
    if (!stroke.smooth || (corner_before && corner_after)) {
      polyline.push_back(point(i + 1));
      continue;
    }
    const Point before = corner_before ? point(i) : i > 0 ? point(i - 1) : point(n - 2);
    const Point after = corner_after ? point(i + 1) : i + 2 < n ? point(i + 2) : point(1);
    for (int step = 1; step <= kCurveSteps; ++step) {
      const float t = static_cast<float>(step) / kCurveSteps;
      polyline.push_back(curve(before, point(i), point(i + 1), after, t));
    }
  }
}

}  // namespace tessera::datasets
