#include "nn/lr_steps.h"

#include "core/values.h"

namespace tessera::nn {

void LrSteps::validate() const {
  if (any()) number_list(list, flag, 0, 1e6);
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

}  // namespace tessera::nn
