// Reverse-mode gradients as IR: each op's own `grad` builds the nodes with the public builders.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "core/graph.h"

namespace tessera {

// d loss / d wrt[i] for a scalar f32 loss, as dense values of wrt[i]'s dtype and shape; zeros
// where the loss does not depend on it. `seed`, when given, is the cotangent of `loss` (same shape,
// and then loss may have any shape). Throws Error when an op on the path has no gradient.
std::vector<Value> grad(Value loss, std::span<const Value> wrt, Value seed = {});

}  // namespace tessera
