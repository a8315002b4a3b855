// Schedules of compression methods on a budget of epochs.
#include <algorithm>
#include <cmath>

#include "apps/common/recipe.h"

namespace tessera::apps {

namespace {

// A factor per step that does in `steps` steps what `factor` did in `was`.
double respread(double factor, int was, int steps) {
  return steps < 2 ? factor : std::pow(factor, static_cast<double>(was - 1) / (steps - 1));
}

// Steps of the same share of the whole, the first longer by the same factor; what does not divide
// goes to the first. Short budgets end at steps of one epoch, then at fewer steps.
quant::Alternation scaled(quant::Alternation a, std::int64_t total) {
  const double share = static_cast<double>(total) / static_cast<double>(a.total_epochs());
  const double longer = static_cast<double>(a.first_epochs) / a.epochs;
  a.epochs = std::max(1, static_cast<int>(std::lround(share * a.epochs)));
  const double rest = static_cast<double>(total) - longer * a.epochs;
  const auto most = (total - 1) / a.epochs + 1;  // the first step keeps an epoch
  a.steps = static_cast<int>(
      std::clamp<std::int64_t>(1 + static_cast<std::int64_t>(std::floor(rest / a.epochs + 1e-9)),
                               std::min<std::int64_t>(2, most), most));
  a.first_epochs = static_cast<int>(total - static_cast<std::int64_t>(a.steps - 1) * a.epochs);
  return a;
}

}  // namespace

CompressRecipe CompressRecipe::with_epochs(const std::string& name, std::int64_t epochs) const {
  check_range("--epochs", static_cast<double>(epochs), 1, 1e6);
  CompressRecipe out = *this;
  if (method(name)->epochs() == 0) return out;  // does not train
  quant::Alternation& steps = out.lc.alternation;
  const int was = steps.steps, step_was = steps.epochs;
  steps = scaled(steps, epochs);
  steps.lr_decay = respread(steps.lr_decay, was, steps.steps);
  out.trained.schedule.epochs = static_cast<int>(epochs);
  // What the penalty does in a step is lr * mu * updates: shorter steps need more of it.
  out.lc.mu *= static_cast<double>(step_was) / steps.epochs;
  out.lc.mu_growth = respread(out.lc.mu_growth, was, steps.steps);
  const std::int64_t got = out.method(name)->epochs();
  check(got == epochs, "--epochs ", epochs, ": method ", name, " would train ", got,
        "; its schedule cannot be scaled");
  return out;
}

}  // namespace tessera::apps
