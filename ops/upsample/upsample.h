#pragma once

#include "core/op_def.h"

namespace tessera {

extern const OpDef kUpsample2d, kUpsample2dGrad;

}  // namespace tessera
