#pragma once

#include "core/op_def.h"

namespace tessera {

extern const OpDef kMaxPool2d, kMaxPool2dGrad, kAvgPool2d, kAvgPool2dGrad;

}  // namespace tessera
