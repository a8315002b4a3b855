// Combinations of methods, by names joined with '+': what goes beside a method, and which method
// begins where which ends.
#pragma once

#include <string>
#include <vector>

#include "quant/method/method_list.h"

namespace tessera::quant {

// What can stand beside every method that trains, the whole time that it does.
struct Companion {
  std::string name;
  std::string doc;
  std::vector<Setting> settings;
};

// In the order of help:
//   r2  range restriction (range.h) of the weights as an objective more
//   kd  distillation from the network at the start, not quantized (distill.h)
const std::vector<Companion>& companions();

// "r2+lsq", "lnq+dkm", "lc+dkm+kd": companions, in any place, and methods in the order in which
// they run. Only the last of those must train; each begins at the codebooks of the one before,
// with the weights on their entries, and one that does not train can only be the first. Those that
// train share the epochs evenly. Companions go with all of them, and the teacher is the network
// that the first one got; kd stands in place of the distillation that a method has by itself.
// Throws Error "--method: ..." for what cannot be combined, naming it.
MethodRow combination_row(const std::string& name);

}  // namespace tessera::quant
