// Rewrite rules of the families. They keep the value up to rounding and the sign of zero, and run
// when a graph is compiled, after gradients were taken.
#pragma once

#include <vector>

#include "core/rewrite.h"

namespace tessera {

std::vector<Rule> elementwise_rules();
std::vector<Rule> movement_rules();
std::vector<Rule> reduce_rules();
std::vector<Rule> sparse_rules();
std::vector<Rule> codebook_rules();

}  // namespace tessera
