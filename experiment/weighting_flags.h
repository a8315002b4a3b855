// The flags of how losses share a step (nn/loss_weighting.h), of references and of methods alike.
#pragma once

#include <string>

#include "core/files/checkpoint.h"
#include "experiment/flag_list.h"
#include "nn/loss_weighting.h"

namespace tessera::experiment {

struct WeightingFlags {
  std::string name = nn::LossWeighting().name;
  std::string preference = "";  // "1,0.5"
  std::string gramian = "all";  // or tensor

  // --PREFIXloss-weighting, -loss-preference, -gramian.
  void add_flags(FlagList& options, const std::string& prefix);
  // Throws Error naming the flag.
  void validate(const std::string& prefix) const;
  nn::LossWeighting weighting() const;
  bool by_gradients() const { return nn::loss_weighting(name).by_gradients.has_value(); }
  // Under keys with this prefix ("reference."); none for the plain sum.
  Config config(const std::string& prefix) const;
};

}  // namespace tessera::experiment
