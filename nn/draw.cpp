#include "nn/draw.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace tessera::nn {

std::int32_t draw(std::span<const float> logits, Rng& rng, double temperature) {
  check(!logits.empty() && temperature >= 0,
        "[draw] expected logits and a temperature of at least ", "0, got ", logits.size(), " and ",
        temperature);
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (temperature == 0) return static_cast<std::int32_t>(largest - logits.begin());
  const double best = static_cast<double>(*largest);
  std::vector<double> share(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i)
    sum += share[i] = std::exp((static_cast<double>(logits[i]) - best) / temperature);
  if (!std::isfinite(sum)) return -1;
  double left = static_cast<double>(rng.uniform()) * sum;
  std::size_t at = 0;
  while (at + 1 < share.size() && left >= share[at]) left -= share[at++];
  return static_cast<std::int32_t>(at);
}

}  // namespace tessera::nn
