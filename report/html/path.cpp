#include "report/html/path.h"

#include <algorithm>
#include <cmath>

namespace tessera::experiment {

namespace {

constexpr double kWidth = 1.5, kTolerance = 0.34;  // pixels
constexpr double kEdge = 1e5;

long long tenths(double pixels) {
  return std::isfinite(pixels) ? std::llround(10 * std::clamp(pixels, -kEdge, kEdge)) : 0;
}

std::string text_of(long long tenths) {
  std::string out = tenths < 0 ? "-" : "";
  const long long whole = std::abs(tenths) / 10, rest = std::abs(tenths) % 10;
  if (whole != 0 || rest == 0) out += std::to_string(whole);
  if (rest != 0) out += "." + std::to_string(rest);
  return out;
}

double distance(Pixel p, Pixel a, Pixel b) {
  const double dx = b.x - a.x, dy = b.y - a.y, length = std::hypot(dx, dy);
  if (length < 1e-9) return std::hypot(p.x - a.x, p.y - a.y);
  return std::abs(dx * (a.y - p.y) - dy * (a.x - p.x)) / length;
}

std::vector<Pixel> extremes(const std::vector<Pixel>& points) {
  std::vector<Pixel> out;
  for (std::size_t begin = 0; begin < points.size();) {
    std::size_t end = begin + 1, least = begin, most = begin;
    for (; end < points.size() && points[end].x - points[begin].x < kWidth; ++end) {
      if (points[end].y < points[least].y) least = end;
      if (points[end].y > points[most].y) most = end;
    }
    std::vector<std::size_t> kept = {std::min(least, most), std::max(least, most)};
    if (begin == 0) kept.insert(kept.begin(), 0);
    if (end == points.size()) kept.push_back(end - 1);
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    for (const std::size_t i : kept) out.push_back(points[i]);
    begin = end;
  }
  return out;
}

}  // namespace

std::vector<Pixel> thinned(const std::vector<Pixel>& points) {
  const std::vector<Pixel> all = extremes(points);
  if (all.size() < 3) return all;
  // Douglas and Peucker, without recursion.
  std::vector<bool> kept(all.size(), false);
  kept.front() = kept.back() = true;
  std::vector<std::pair<std::size_t, std::size_t>> open = {{0, all.size() - 1}};
  while (!open.empty()) {
    const auto [first, last] = open.back();
    open.pop_back();
    double most = kTolerance;
    std::size_t at = 0;
    for (std::size_t i = first + 1; i < last; ++i) {
      const double d = distance(all[i], all[first], all[last]);
      if (d > most) {
        most = d;
        at = i;
      }
    }
    if (at == 0) continue;
    kept[at] = true;
    open.push_back({first, at});
    open.push_back({at, last});
  }
  std::vector<Pixel> out;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (kept[i]) out.push_back(all[i]);
  }
  return out;
}

std::string place(double pixels) {
  return text_of(tenths(pixels));
}

void PathData::lines(const std::vector<Pixel>& points) {
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i == 0) {
      move(points[i]);
    } else {
      line(points[i]);
    }
  }
}

void PathData::step(char command, Pixel to) {
  const long long x = tenths(to.x), y = tenths(to.y);
  const std::string dx = text_of(x - x_), dy = text_of(y - y_);
  if (command == 'l' && (dx == "0" || dy == "0")) {
    const bool across = dy == "0";
    text_ += across ? 'h' : 'v';
    text_ += across ? dx : dy;
    command = 'h';
  } else {
    // After "l" further pairs are lines, after "m" as well.
    if (command == 'm' || (command_ != 'l' && command_ != 'm')) {
      text_ += command;
    } else if (dx.front() != '-') {
      text_ += ' ';
    }
    text_ += dx + (dy.front() == '-' ? "" : " ") + dy;
  }
  command_ = command;
  x_ = x;
  y_ = y;
}

}  // namespace tessera::experiment
