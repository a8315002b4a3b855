#pragma once

#include "core/op_def.h"

namespace tessera {

extern const OpDef kChannelStats, kChannelProducts, kBatchNormTrain;

}  // namespace tessera
