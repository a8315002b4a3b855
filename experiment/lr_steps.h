// A learning rate that falls in steps, as flags.
#pragma once

#include <string>
#include <vector>

#include "experiment/flags.h"

namespace tessera::experiment {

struct LrSteps {
  std::string list;  // "100,225,300": epochs behind which the rate falls; below 1: shares of all
  double factor = 0.1;
  std::string flag = "--lr-steps";  // for messages

  bool any() const { return !list.empty(); }
  // --PREFIXlr-steps and --PREFIXlr-step-factor.
  void add_flags(FlagList& options, const std::string& prefix);
  void validate(const std::string& prefix) const;  // throws Error naming the flag
  // Throws Error, naming the flag, for a step that so many epochs would never come to.
  std::vector<double> shares(double epochs) const;
  std::string text() const;  // of the settings: "x 0.1 at 100,225,300"
};

}  // namespace tessera::experiment
