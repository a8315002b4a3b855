// A learning rate that falls in steps, as flags.
#pragma once

#include <string>
#include <vector>

#include "apps/common/flags.h"

namespace tessera::apps {

struct LrSteps {
  std::string list;  // "100,225,300": epochs behind which the rate falls; below 1: shares of all
  double factor = 0.1;

  bool any() const { return !list.empty(); }
  // --PREFIXlr-steps and --PREFIXlr-step-factor.
  void add_flags(po::options_description& options, const std::string& prefix);
  void validate(const std::string& prefix) const;  // throws Error naming the flag
  std::vector<double> shares(double epochs) const;
  // The same shares of another number of epochs.
  LrSteps scaled(double epochs, double others) const;
  std::string text() const;  // of the settings: "x 0.1 at 100,225,300"
};

}  // namespace tessera::apps
