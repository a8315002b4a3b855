// The flags of an optimizer (nn/optimizer.h), of references and of methods alike.
#pragma once

#include <string>

#include "core/files/checkpoint.h"
#include "core/values.h"
#include "experiment/flag_list.h"
#include "nn/optimizer.h"

namespace tessera::experiment {

// --PREFIXoptimizer, -momentum, -nesterov, -weight-decay, -clip-norm.
void add_optimizer_flags(FlagList& options, const std::string& prefix,
                         nn::OptimizerOptions& optimizer);
// Throws Error naming the flag.
void check_optimizer(const nn::OptimizerOptions& optimizer, const std::string& prefix);
// Under keys with this prefix ("reference.").
Config optimizer_config(const nn::OptimizerOptions& optimizer, const std::string& prefix);

}  // namespace tessera::experiment
