// A learning rate that falls in steps, as people write it.
#pragma once

#include <string>
#include <vector>

namespace tessera::nn {

struct LrSteps {
  std::string list;  // "100,225,300": epochs behind which the rate falls; below 1: shares of all
  double factor = 0.1;
  std::string flag = "--lr-steps";  // for messages

  bool any() const { return !list.empty(); }
  // Throws Error, naming the flag, for what is no list.
  void validate() const;
  // Throws Error, naming the flag, for a step that so many epochs would never come to.
  std::vector<double> shares(double epochs) const;
  std::string text() const;  // of configurations: "x 0.1 at 100,225,300"
};

// What the flags of both say.
inline constexpr const char* kLrStepsHelp =
    "the rate falls in steps instead of by a cosine: behind these epochs (100,225,300), or shares "
    "of them all (0.3,0.6)";
inline constexpr const char* kLrStepFactorHelp = "factor of a step";

}  // namespace tessera::nn
