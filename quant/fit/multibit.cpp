#include "quant/fit/multibit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/linear_algebra.h"
#include "quant/fit/kmeans1d.h"
#include "quant/fit/sorted.h"

namespace tessera::quant {
namespace {

constexpr int kMostBits = 8, kMostTurns = 200;
constexpr double kFlat = 1e-12;  // curvature below this share of the largest is none

using Vector = std::array<double, kMostBits>;
using Matrix = std::array<Vector, kMostBits>;

// Adds to a the step that minimizes a'Na - 2 a'r; directions without curvature stay as they are.
void least_squares(const Matrix& n, const Vector& r, int size, Vector& a) {
  std::vector<double> rows, g(r.begin(), r.begin() + size);
  for (int i = 0; i < size; ++i) {
    rows.insert(rows.end(), n[i].begin(), n[i].begin() + size);
    for (int j = 0; j < size; ++j) g[i] -= n[i][j] * a[j];
  }
  const std::vector<double> step = linalg::solve_semidefinite(rows, g, kFlat);
  for (int i = 0; i < size; ++i) a[i] = std::abs(a[i] + step[i]);  // the sums are symmetric
}

// On the magnitudes of the weights: codes and sums are symmetric, so a weight's error is that of
// its magnitude, whose nearest sum is not negative.
class MultibitFit {
 public:
  explicit MultibitFit(const SortedWeights& magnitudes) : weights_(magnitudes) {
    const Moments all = weights_.total();
    square_ = all.square + 2 * weights_.centre() * all.sum +
              weights_.centre() * weights_.centre() * all.mass;
  }

  Vector solve(int bits) {
    if (bits == 1) return {weights_.mean(weights_.total())};
    if (bits == 2) {
      const std::vector<float> two = exact_kmeans(weights_, 2);
      return {0.5 * (two.back() + two.front()), 0.5 * (two.back() - two.front())};
    }
    Vector less = solve(bits - 1);
    less[bits - 1] = mean_residual(less, bits - 1);
    Vector best = less;
    double least = improve(best, bits);
    const auto offer = [&](Vector start) {
      const double error = improve(start, bits);
      if (error < least) least = error, best = start;
    };
    offer(greedy(bits));
    const double largest = weights_[weights_.size() - 1];
    for (const double share : {1.0, 0.7, 0.45}) {
      Vector even{};
      for (int b = 0; b < bits; ++b) even[b] = share * largest * std::exp2(-b - 1);
      offer(even);
    }
    return best;
  }

 private:
  struct Code {
    double sum;
    unsigned signs;  // bit b: a_b is taken positive
  };

  static std::vector<Code> codes(const Vector& a, int bits) {
    std::vector<Code> out;
    for (unsigned signs = 0; signs < 1u << bits; ++signs) {
      double sum = 0;
      for (int b = 0; b < bits; ++b) sum += signs >> b & 1 ? a[b] : -a[b];
      // Of a sum and its negative one is kept; of two zeros the one with the first sign.
      if (sum > 0 || (sum == 0 && (signs & 1))) out.push_back({sum, signs});
    }
    std::stable_sort(out.begin(), out.end(),
                     [](const Code& x, const Code& y) { return x.sum < y.sum; });
    return out;
  }

  // Calls fn(code, moments, raw sum) for the weights nearest to each.
  template <class Fn>
  void each_cell(const std::vector<Code>& list, const Fn& fn) const {
    std::size_t begin = 0;
    for (std::size_t k = 0; k < list.size(); ++k) {
      std::size_t end = weights_.size();
      if (k + 1 < list.size()) {
        const double middle = 0.5 * (list[k].sum + list[k + 1].sum);
        end = weights_.count_not_above(static_cast<float>(middle), begin);
      }
      if (end <= begin) continue;
      const Moments cell = weights_.between(begin, end);
      fn(list[k], cell.mass, cell.sum + weights_.centre() * cell.mass);
      begin = end;
    }
  }

  // The error at a, with the normal equations of its codes.
  double error_at(const Vector& a, int bits, Matrix& n, Vector& r) const {
    n = {}, r = {};
    double error = square_;
    each_cell(codes(a, bits), [&](const Code& code, double mass, double sum) {
      error += code.sum * (code.sum * mass - 2 * sum);
      for (int i = 0; i < bits; ++i) {
        const double x = code.signs >> i & 1 ? 1 : -1;
        r[i] += x * sum;
        for (int j = 0; j < bits; ++j) n[i][j] += code.signs >> j & 1 ? x * mass : -x * mass;
      }
    });
    return error;
  }

  double improve(Vector& a, int bits) const {
    Matrix n;
    Vector r;
    double error = error_at(a, bits, n, r);
    for (int turn = 0; turn < kMostTurns; ++turn) {
      Vector next = a;
      least_squares(n, r, bits, next);
      const double now = error_at(next, bits, n, r);
      if (!(now < error)) break;
      error = now;
      a = next;
    }
    return error;
  }

  // sum h |w - sum| / sum h over the nearest sums.
  double mean_residual(const Vector& a, int bits) const {
    double total = 0, mass = 0;
    std::size_t i = 0;
    const std::vector<Code> list = codes(a, bits);
    for (std::size_t k = 0; k < list.size(); ++k) {
      const bool last = k + 1 == list.size();
      const double middle = last ? 0 : 0.5 * (list[k].sum + list[k + 1].sum);
      for (; i < weights_.size() && (last || weights_[i] <= middle); ++i) {
        total += weights_.importance(i) * std::abs(weights_[i] - list[k].sum);
        mass += weights_.importance(i);
      }
    }
    return total / mass;
  }

  Vector greedy(int bits) const {
    std::vector<double> rest(weights_.size());
    double mass = 0;
    for (std::size_t i = 0; i < rest.size(); ++i) {
      rest[i] = weights_[i];
      mass += weights_.importance(i);
    }
    Vector a{};
    for (int b = 0; b < bits; ++b) {
      double total = 0;
      for (std::size_t i = 0; i < rest.size(); ++i) total += weights_.importance(i) * rest[i];
      a[b] = total / mass;
      for (double& x : rest) x = std::abs(x - a[b]);
    }
    return a;
  }

  const SortedWeights& weights_;
  double square_ = 0;  // sum h w^2
};

}  // namespace

std::vector<float> multibit_entries(std::span<const float> weights,
                                    std::span<const float> importance, int bits) {
  TESSERA_ASSERT(bits >= 1 && bits <= kMostBits);
  std::vector<float> magnitudes(weights.begin(), weights.end());
  for (float& w : magnitudes) w = std::abs(w);
  const SortedWeights sorted(magnitudes, importance);
  const Vector a = MultibitFit(sorted).solve(bits);
  std::vector<float> entries;
  for (unsigned signs = 0; signs < 1u << bits; ++signs) {
    double sum = 0;
    for (int b = 0; b < bits; ++b) sum += signs >> b & 1 ? a[b] : -a[b];
    entries.push_back(static_cast<float>(sum) + 0.0f);
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace tessera::quant
