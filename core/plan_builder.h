// From a graph with kernels chosen to buffers and steps in order. Internal to core.
#pragma once

#include <map>

#include "core/plan_data.h"
#include "core/select.h"

namespace tessera {

// Fills `plan`, whose graph it is, with buffers, steps in the order they run in, and the arena's
// size. The kernels of `selected` move into the steps.
void place_and_order(PlanData& plan, std::map<const Node*, Selected>& selected);

}  // namespace tessera
