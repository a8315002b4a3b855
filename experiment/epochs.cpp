// Schedules of compression methods on a budget of epochs.
#include "experiment/recipe.h"

namespace tessera::experiment {

CompressRecipe CompressRecipe::with_epochs(const std::string& name, std::int64_t epochs) const {
  check_range("--epochs", static_cast<double>(epochs), 1, 1e6);
  CompressRecipe out = *this;
  quant::Alternation& steps = out.lc.alternation;
  const double share = static_cast<double>(epochs) / static_cast<double>(steps.total_epochs());
  steps.epochs *= share;
  steps.first_epochs *= share;
  // What the penalty does in a step is lr * mu * updates: shorter steps need more of it.
  out.lc.mu /= share;
  out.trained = trained.with_epochs(static_cast<int>(epochs));
  const std::int64_t got = out.method(name)->epochs();
  if (got == 0) return *this;  // does not train
  check(got == epochs, "--epochs ", epochs, ": method ", name, " would train ", got,
        "; its schedule cannot be scaled");
  return out;
}

}  // namespace tessera::experiment
