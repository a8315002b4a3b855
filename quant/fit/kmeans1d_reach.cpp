#include "quant/fit/kmeans1d_reach.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tessera::quant {
namespace {

double split_gain(const Moments& begin, const Moments& middle, const Moments& end) {
  const Moments left = middle - begin, right = end - middle;
  if (!(left.mass > 0 && right.mass > 0)) return 0;
  const double apart = right.sum / right.mass - left.sum / left.mass;
  return left.mass * right.mass / (left.mass + right.mass) * apart * apart;
}

}  // namespace

ClusterReach::ClusterReach(const SortedWeights& weights, std::size_t grid)
    : weights_(weights), step_(std::max<std::size_t>(1, weights.size() / grid)) {
  for (std::size_t p = 0; p < weights.size(); p += step_) below_.push_back(weights.before(p));
  below_.push_back(weights.total());
  limit_gain(std::numeric_limits<double>::infinity());
}

void ClusterReach::limit_gain(double most_gain) {
  const std::size_t last = below_.size() - 1;
  const double lowest = weights_[0], highest = weights_[weights_.size() - 1];
  least_before_.assign(last + 1, lowest);
  greatest_after_.assign(last + 1, highest);
  // A range that fails the test makes all that contain it fail, whichever split was tested.
  const auto impossible = [&](std::size_t begin, std::size_t end) {
    return end - begin >= 2 &&
           split_gain(below_[begin], below_[begin + (end - begin) / 2], below_[end]) > most_gain;
  };
  std::size_t begin = 0;
  for (std::size_t end = 1; end <= last; ++end) {
    while (begin + 1 < end && impossible(begin + 1, end)) ++begin;
    // The cluster may begin anywhere above `begin`, which as a begin is impossible or the first.
    least_before_[end] = weights_.mean(below_[end] - below_[begin]);
  }
  std::size_t end = last;
  for (std::size_t start = last; start-- > 0;) {
    while (end - 1 > start && impossible(start, end - 1)) --end;
    greatest_after_[start] = weights_.mean(below_[end] - below_[start]);
  }
}

std::vector<float> ClusterReach::spread_entries(std::size_t k) const {
  // An interval of mass m and width d holds m^(1/3) d^(2/3) of the entries.
  std::vector<double> share{0};
  const auto position = [&](std::size_t i) { return std::min(i * step_, weights_.size() - 1); };
  for (std::size_t i = 1; i < below_.size(); ++i) {
    const double width = static_cast<double>(weights_[position(i)]) - weights_[position(i - 1)];
    const double mass = below_[i].mass - below_[i - 1].mass;
    share.push_back(share.back() + std::cbrt(mass * width * width));
  }
  std::vector<float> entries;
  for (std::size_t e = 0; e < k; ++e) {
    const double wanted = share.back() * (static_cast<double>(e) + 0.5) / static_cast<double>(k);
    const auto above = std::upper_bound(share.begin() + 1, share.end() - 1, wanted);
    const auto i = static_cast<std::size_t>(above - share.begin());
    const double low = weights_[position(i - 1)], high = weights_[position(i)];
    const double part = (wanted - share[i - 1]) / std::max(share[i] - share[i - 1], 1e-300);
    entries.push_back(static_cast<float>(low + (high - low) * std::clamp(part, 0.0, 1.0)));
  }
  entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
  return entries;
}

}  // namespace tessera::quant
