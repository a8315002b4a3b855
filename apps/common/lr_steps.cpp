#include "apps/common/lr_steps.h"

#include "apps/common/recipe.h"

namespace tessera::apps {

void LrSteps::add_flags(po::options_description& options, const std::string& prefix) {
  auto add = options.add_options();
  add((prefix + "lr-steps").c_str(), text_flag(list, "LIST"),
      "the rate falls in steps instead of by a cosine: behind these epochs (100,225,300), or "
      "shares "
      "of them all (0.3,0.6)");
  add((prefix + "lr-step-factor").c_str(), flag(factor, "X"), "factor of a step");
}

void LrSteps::validate(const std::string& prefix) const {
  check_range("--" + prefix + "lr-step-factor", factor, 1e-9, 1e3);
  if (any()) number_list(list, "--" + prefix + "lr-steps", 0, 1e6);
}

std::vector<double> LrSteps::shares(double epochs) const {
  if (!any()) return {};
  std::vector<double> out = number_list(list, "lr-steps", 0, 1e6);
  for (double& step : out) step = step < 1 ? step : step / epochs;
  return out;
}

LrSteps LrSteps::scaled(double epochs, double others) const {
  LrSteps out = *this;
  if (epochs == others) return out;
  out.list.clear();
  for (const double share : shares(epochs)) {
    if (share < 1) out.list += (out.list.empty() ? "" : ",") + exact(share);  // else behind the end
  }
  return out;
}

std::string LrSteps::text() const {
  return cat("x ", exact(factor), " at ", list);
}

}  // namespace tessera::apps
