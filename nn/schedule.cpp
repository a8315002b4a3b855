#include "nn/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace tessera::nn {

Schedule constant(double value) {
  return [=](double) { return value; };
}

Schedule exponential(double start, double factor) {
  return [=](double epoch) { return start * std::pow(factor, std::floor(epoch)); };
}

Schedule step_decay(double start, double factor, std::vector<double> milestones) {
  return [=, milestones = std::move(milestones)](double epoch) {
    const auto passed =
        std::count_if(milestones.begin(), milestones.end(), [&](double m) { return epoch >= m; });
    return start * std::pow(factor, static_cast<double>(passed));
  };
}

Schedule step_decay_shares(double start, double factor, const std::vector<double>& shares,
                           double epochs) {
  std::vector<double> milestones;
  // 100 / 350 of 350 epochs is epoch 100, whatever the product rounds to.
  for (const double share : shares) milestones.push_back(share * epochs * (1 - 1e-12));
  return step_decay(start, factor, std::move(milestones));
}

Schedule cosine(double start, double end, double epochs) {
  return [=](double epoch) {
    const double t = std::clamp(epoch / epochs, 0.0, 1.0);
    return end + (start - end) * 0.5 * (1 + std::cos(std::numbers::pi * t));
  };
}

Schedule with_warmup(double warmup, Schedule after) {
  return [=, after = std::move(after)](double epoch) {
    return epoch < warmup ? after(warmup) * (epoch + 1e-9) / warmup : after(epoch);
  };
}

void require_schedule(const Schedule& lr) {
  check(static_cast<bool>(lr),
        "no learning rate was given: set FitOptions::lr, say to nn::constant(0.01) or "
        "nn::cosine(0.1, 0.001, epochs)");
}

}  // namespace tessera::nn
