#include "ops/weighting/loss_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tessera {

namespace {

// Added to the cosines of gradients, and the least square of a pivot: f32 sums know them no better.
constexpr double kRidge = 1e-6;

std::size_t at(int i) {
  return static_cast<std::size_t>(i);
}

// Losses that have a gradient, in units of its length: `cosine`, p_i |g_i|, and the lengths.
struct Scaled {
  int k = 0;
  std::array<int, kMostLosses> loss = {};  // of the whole problem
  LossMatrix cosine;
  LossVector length = {}, preference = {};
};

Scaled scaled(const LossMatrix& g, const LossVector& preference) {
  Scaled out;
  for (int i = 0; i < g.k; ++i) {
    if (!(g(i, i) > 0 && preference[at(i)] > 0)) continue;
    out.loss[at(out.k)] = i;
    out.length[at(out.k)] = std::sqrt(g(i, i));
    out.preference[at(out.k)] = preference[at(i)] * out.length[at(out.k)];
    ++out.k;
  }
  out.cosine.k = out.k;
  for (int i = 0; i < out.k; ++i) {
    for (int j = 0; j < out.k; ++j) {
      const double cosine =
          g(out.loss[at(i)], out.loss[at(j)]) / out.length[at(i)] / out.length[at(j)];
      out.cosine(i, j) = i == j ? 1 + kRidge : std::clamp(cosine, -1.0, 1.0);
    }
  }
  return out;
}

double dot(const LossVector& a, const LossVector& b, int k) {
  return std::inner_product(a.begin(), a.begin() + k, b.begin(), 0.0);
}

double row_dot(const LossMatrix& a, int row, const LossVector& x) {
  double sum = 0;
  for (int j = 0; j < a.k; ++j) sum += a(row, j) * x[at(j)];
  return sum;
}

LossVector times(const LossMatrix& a, const LossVector& x) {
  LossVector out = {};
  for (int i = 0; i < a.k; ++i) out[at(i)] = row_dot(a, i, x);
  return out;
}

using Support = std::array<bool, kMostLosses>;

// x with (A x)_i = b_i for i in the support, 0 elsewhere, by Cholesky.
LossVector solve(const LossMatrix& a, const LossVector& b, const Support& in) {
  std::array<int, kMostLosses> rows = {};
  int n = 0;
  for (int i = 0; i < a.k; ++i) {
    if (in[at(i)]) rows[at(n++)] = i;
  }
  LossMatrix l;
  l.k = n;
  LossVector y = {}, out = {};
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      double sum = a(rows[at(i)], rows[at(j)]);
      for (int m = 0; m < j; ++m) sum -= l(i, m) * l(j, m);
      l(i, j) = i == j ? std::sqrt(std::max(sum, kRidge)) : sum / l(j, j);
    }
    double sum = b[at(rows[at(i)])];
    for (int m = 0; m < i; ++m) sum -= l(i, m) * y[at(m)];
    y[at(i)] = sum / l(i, i);
  }
  for (int i = n; i-- > 0;) {
    double sum = y[at(i)];
    for (int m = i + 1; m < n; ++m) sum -= l(m, i) * y[at(m)];
    y[at(i)] = sum / l(i, i);
    out[at(rows[at(i)])] = y[at(i)];
  }
  return out;
}

LossVector mgda(const Scaled& s) {
  // Scaled up at will the shortest combination is the least x'Cx / 2 - sum_i a_i.
  LossVector d = {};
  for (int i = 0; i < s.k; ++i) d[at(i)] = 1 / s.preference[at(i)];
  LossVector x = nonnegative_minimum(s.cosine, d);
  const double sum = dot(x, d, s.k);
  for (int i = 0; i < s.k; ++i) x[at(i)] /= sum;
  return x;
}

// The point of the cone in which no loss rises that is nearest to sum_i x_i g_i / |g_i|.
LossVector dual_projection(const LossMatrix& cosine, const LossVector& x) {
  LossVector d = times(cosine, x);
  for (double& v : d) v = -v;
  LossVector out = nonnegative_minimum(cosine, d);
  for (int i = 0; i < cosine.k; ++i) out[at(i)] += x[at(i)];
  return out;
}

LossVector upgrad(const Scaled& s) {
  LossVector out = {};
  for (int i = 0; i < s.k; ++i) {
    LossVector alone = {};
    alone[at(i)] = s.preference[at(i)];
    const LossVector projected = dual_projection(s.cosine, alone);
    for (int j = 0; j < s.k; ++j) out[at(j)] += projected[at(j)];
  }
  return out;
}

LossVector pcgrad(const Scaled& s, const LossMatrix& order) {
  LossVector out = {};
  for (int i = 0; i < s.k; ++i) {
    const auto rank = [&](int j) { return order(s.loss[at(i)], s.loss[at(j)]); };
    std::array<int, kMostLosses> others = {};
    for (int j = 0; j < s.k; ++j) {  // by insertion
      int n = j;
      for (; n > 0 && rank(others[at(n - 1)]) > rank(j); --n) others[at(n)] = others[at(n - 1)];
      others[at(n)] = j;
    }
    LossVector w = {};
    w[at(i)] = s.preference[at(i)];
    for (int n = 0; n < s.k; ++n) {
      const int j = others[at(n)];
      if (j != i) w[at(j)] -= std::min(row_dot(s.cosine, j, w), 0.0) / s.cosine(j, j);
    }
    for (int j = 0; j < s.k; ++j) out[at(j)] += w[at(j)];
  }
  return out;
}

// The dual of eq. 4: with g_0 = sum_i p_i g_i the least g_w.g_0 + c |g_0| |g_w| over convex
// combinations g_w, and then g_0 + y, y along g_w of length c |g_0|. On the support of w, G y + G p
// = nu; that and y's length say what y is. Every support is tried, and what serves the worst loss
// best is taken; that may be the sum as it is.
LossVector cagrad(const Scaled& s, double c) {
  const LossMatrix& g = s.cosine;
  const LossVector with_sum = times(g, s.preference);
  const double reach = c * std::sqrt(dot(s.preference, with_sum, s.k));
  LossVector inverse = {};
  for (int i = 0; i < s.k; ++i) inverse[at(i)] = 1 / s.length[at(i)];
  const auto worst = [&](const LossVector& w) {
    double out = std::numeric_limits<double>::infinity();
    for (int i = 0; i < s.k; ++i) out = std::min(out, s.length[at(i)] * row_dot(g, i, w));
    return out;
  };
  LossVector best = s.preference;
  double most = worst(best);
  for (unsigned set = 1; reach > 0 && set < 1u << s.k; ++set) {
    Support in = {};
    for (int i = 0; i < s.k; ++i) in[at(i)] = (set >> i & 1u) != 0;
    const LossVector p = solve(g, inverse, in), q = solve(g, with_sum, in);
    const double pp = dot(p, times(g, p), s.k), pq = dot(p, times(g, q), s.k),
                 qq = dot(q, times(g, q), s.k);
    const double root = pq * pq - pp * (qq - reach * reach);
    if (!(root >= 0)) continue;
    for (const double sign : {1.0, -1.0}) {
      const double nu = (pq + sign * std::sqrt(root)) / pp;
      LossVector y = {}, w = s.preference;
      for (int i = 0; i < s.k; ++i) {
        y[at(i)] = std::max(nu * p[at(i)] - q[at(i)], 0.0);
        w[at(i)] += y[at(i)];
      }
      if (dot(y, times(g, y), s.k) > reach * reach * (1 + 1e-6)) continue;
      if (const double value = worst(w); value > most) {
        most = value;
        best = w;
      }
    }
  }
  return best;
}

}  // namespace

const Names<GramianRule>& gramian_rules() {
  static const Names<GramianRule> names("weighting of losses", {{"mgda", GramianRule::mgda},
                                                                {"upgrad", GramianRule::upgrad},
                                                                {"dualproj", GramianRule::dualproj},
                                                                {"pcgrad", GramianRule::pcgrad},
                                                                {"cagrad", GramianRule::cagrad}});
  return names;
}

LossVector nonnegative_minimum(const LossMatrix& a, const LossVector& d) {
  LossVector x = {};
  Support in = {};
  double scale = 0;
  for (int i = 0; i < a.k; ++i) scale = std::max(scale, std::abs(d[at(i)]));
  for (int round = 0; round < 3 * a.k; ++round) {
    int next = -1;
    double steepest = 1e-14 * scale;
    for (int i = 0; i < a.k; ++i) {
      const double rise = d[at(i)] - row_dot(a, i, x);
      if (!in[at(i)] && rise > steepest) {
        next = i;
        steepest = rise;
      }
    }
    if (next < 0) break;
    in[at(next)] = true;
    for (int turn = 0; turn <= a.k; ++turn) {
      const LossVector aim = solve(a, d, in);
      double step = 1;
      for (int i = 0; i < a.k; ++i) {
        if (in[at(i)] && aim[at(i)] <= 0)
          step = std::min(step, x[at(i)] / std::max(x[at(i)] - aim[at(i)], 1e-300));
      }
      for (int i = 0; i < a.k; ++i) {
        x[at(i)] += step * (aim[at(i)] - x[at(i)]);
        if (step < 1 && in[at(i)] && aim[at(i)] <= 0 && x[at(i)] <= 1e-14 * std::abs(aim[at(i)])) {
          x[at(i)] = 0;
          in[at(i)] = false;
        }
      }
      if (step == 1) break;
    }
  }
  return x;
}

LossVector loss_weights(GramianRule how, const LossMatrix& gramian, const LossVector& preference,
                        const LossMatrix& order, double c) {
  LossVector out = preference;
  for (int i = 0; i < gramian.k * gramian.k; ++i) {
    if (std::isfinite(gramian.v[at(i)])) continue;
    out.fill(std::numeric_limits<double>::quiet_NaN());
    return out;
  }
  const Scaled s = scaled(gramian, preference);
  if (s.k == 0) return out;
  LossVector found = {};
  switch (how) {
    case GramianRule::mgda:
      found = mgda(s);
      break;
    case GramianRule::upgrad:
      found = upgrad(s);
      break;
    case GramianRule::dualproj:
      found = dual_projection(s.cosine, s.preference);
      break;
    case GramianRule::pcgrad:
      found = pcgrad(s, order);
      break;
    case GramianRule::cagrad:
      found = cagrad(s, c);
      break;
  }
  for (int i = 0; i < s.k; ++i) out[at(s.loss[at(i)])] = found[at(i)] / s.length[at(i)];
  return out;
}

}  // namespace tessera
