// Entries as whole steps from a zero point: those that are, and the nearest ones to others.
#include <algorithm>
#include <cmath>
#include <limits>

#include "onnx/export/exporter.h"

namespace tessera::onnx {

namespace {

constexpr double kExact = 2e-6;  // of the largest entry: what rounding to f32 may have moved

// Whole numbers of a step that the entries are, or none.
std::vector<int> levels_of(std::span<const float> entries, double step, double largest) {
  std::vector<int> out;
  for (const float entry : entries) {
    const double level = std::nearbyint(entry / step);
    if (std::fabs(entry - level * step) > kExact * largest) return {};
    out.push_back(static_cast<int>(level));
  }
  return out;
}

std::span<const float> group_of(const Tensor& reals, std::int64_t group, std::int64_t size) {
  return reals.span<float>().subspan(static_cast<std::size_t>(group * size),
                                     static_cast<std::size_t>(size));
}

struct Steps {
  double step = 1, error = std::numeric_limits<double>::infinity();
  int zero = 0;
  std::vector<int> level;
};

// The least-squares step for levels 0..most with this zero point, by turns with the levels, from a
// step that is given.
void improve(Steps& best, std::span<const float> entries, std::span<const double> counts, int zero,
             int most, double step) {
  constexpr int kTurns = 4;
  std::vector<int> level(entries.size());
  for (int turn = 0; turn < kTurns; ++turn) {
    double ww = 0, we = 0, error = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const double whole =
          std::clamp(std::nearbyint(entries[i] / step) + zero, 0., static_cast<double>(most));
      level[i] = static_cast<int>(whole);
      const double from = whole - zero;
      ww += counts[i] * from * from;
      we += counts[i] * from * entries[i];
    }
    if (ww > 0 && we > 0) step = we / ww;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const double off = entries[i] - static_cast<float>(step) * (level[i] - zero);
      error += counts[i] * off * off;
    }
    if (!(error < best.error)) {
      if (turn > 0) return;
      continue;
    }
    best = {step, error, zero, level};
  }
}

Steps nearest_steps(std::span<const float> entries, std::span<const double> counts, int most) {
  // What no weight uses may be cut off.
  double low = 0, high = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (counts[i] <= 0) continue;
    low = std::min(low, static_cast<double>(entries[i]));
    high = std::max(high, static_cast<double>(entries[i]));
  }
  Steps best;
  if (low == high) {  // zeros only
    best = {1, 0, 0, std::vector<int>(entries.size(), 0)};
    return best;
  }
  // Zero points about where the ends would have it, all of them where they are few; steps from
  // those that hold both ends down to a third, which cuts off what is far out.
  constexpr int kAround = 8, kSteps = 32;
  const int middle = static_cast<int>(std::lround(-low / (high - low) * most));
  for (int zero = std::max(0, middle - kAround); zero <= std::min(most, middle + kAround); ++zero) {
    double widest = 0;
    if (zero > 0) widest = std::max(widest, -low / zero);
    if (zero < most) widest = std::max(widest, high / (most - zero));
    if (widest == 0) continue;
    for (int i = 0; i < kSteps; ++i)
      improve(best, entries, counts, zero, most, widest * (1 - 2. / 3 * i / kSteps));
  }
  return best;
}

}  // namespace

Affine affine_of(const Tensor& entries) {
  Affine out;
  const std::int64_t groups = entries.shape()[0].value(), k = entries.numel() / groups;
  const Tensor reals = entries.dtype() == DType::f32 ? entries : entries.to(DType::f32);
  int low = 0, high = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    const auto own = group_of(reals, g, k);
    double largest = 0;
    for (const float v : own) largest = std::max(largest, std::fabs(static_cast<double>(v)));
    std::vector<int> levels;
    double step = 1;
    for (int m = 1; m <= 255 && levels.empty(); ++m) {
      step = largest == 0 ? 1 : largest / m;
      levels = levels_of(own, step, largest);
    }
    if (levels.empty()) return out;
    for (const int level : levels) low = std::min(low, level), high = std::max(high, level);
    out.step.push_back(static_cast<float>(step));
    out.level.insert(out.level.end(), levels.begin(), levels.end());
  }
  if (high - low > 255) return out;
  out.bits = high - low <= 3 ? 2 : high - low <= 15 ? 4 : 8;
  out.zero.assign(static_cast<std::size_t>(groups), -low);
  for (int& level : out.level) level -= low;
  return out;
}

int fitted_bits(const CodebookFormat& format, const ExportOptions& options) {
  if (options.affine_bits == 0) return 0;
  // Indices of vectors say nothing about how many numbers there are.
  const int least = format.vector_len > 1 || format.bits <= 2 ? 2 : format.bits <= 4 ? 4 : 8;
  return std::max(options.affine_bits, least);
}

Affine nearest_affine(const Tensor& entries, std::span<const double> counts, int bits) {
  Affine out;
  out.bits = bits;
  const std::int64_t groups = entries.shape()[0].value(), k = entries.numel() / groups;
  const Tensor reals = entries.dtype() == DType::f32 ? entries : entries.to(DType::f32);
  double error = 0, energy = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    const auto own = group_of(reals, g, k);
    const auto often = counts.subspan(static_cast<std::size_t>(g * k), own.size());
    const Steps best = nearest_steps(own, often, (1 << bits) - 1);
    out.step.push_back(static_cast<float>(best.step));
    out.zero.push_back(best.zero);
    out.level.insert(out.level.end(), best.level.begin(), best.level.end());
    error += best.error;
    for (std::size_t i = 0; i < own.size(); ++i)
      energy += often[i] * static_cast<double>(own[i]) * own[i];
  }
  out.error = energy > 0 ? std::sqrt(error / energy) : 0;
  return out;
}

}  // namespace tessera::onnx
