#include "experiment/lr_steps.h"

#include "experiment/recipe.h"

namespace tessera::experiment {

void LrSteps::add_flags(FlagList& options, const std::string& prefix) {
  auto add = options.add_options();
  flag = "--" + prefix + "lr-steps";
  add((prefix + "lr-steps").c_str(), text_flag(list, "LIST"),
      "the rate falls in steps instead of by a cosine: behind these epochs (100,225,300), or "
      "shares of them all (0.3,0.6)");
  add((prefix + "lr-step-factor").c_str(), experiment::flag(factor, "X"), "factor of a step");
}

void LrSteps::validate(const std::string& prefix) const {
  check_range("--" + prefix + "lr-step-factor", factor, 1e-9, 1e3);
  if (any()) number_list(list, "--" + prefix + "lr-steps", 0, 1e6);
}

std::vector<double> LrSteps::shares(double epochs) const {
  if (!any()) return {};
  std::vector<double> out = number_list(list, flag, 0, 1e6);
  for (double& step : out) {
    check(step < 1 || step < epochs, flag, " ", list, ": training ends with epoch ", epochs,
          ", the step behind epoch ", step, " never comes; shares such as 0.3,0.6 suit any number");
    if (step >= 1) step /= epochs;
  }
  return out;
}

std::string LrSteps::text() const {
  return cat("x ", exact(factor), " at ", list);
}

}  // namespace tessera::experiment
