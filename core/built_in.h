// Which ops every program has.
#pragma once

#include "core/op_def.h"

namespace tessera {

// Whether an OpSet was made with the op; the others were given to one by OpSet::add.
bool is_built_in(const OpDef& op);

}  // namespace tessera
