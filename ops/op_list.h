// The one explicit list of operators.
#pragma once

#include "core/op_def.h"

namespace tessera {

// elementwise
#define ELEMENTWISE(NAME, OP) extern const OpDef OP;
#include "ops/elementwise/table.inc"
extern const OpDef kFused, kCast, kOneHot;
// reduce
extern const OpDef kSum, kMax, kCount, kArgmax, kBroadcastTo, kSumTo;
// movement
extern const OpDef kReshape, kTranspose, kSlice, kConcat, kPlace;
// softmax, loss, random
extern const OpDef kSoftmax, kLogSoftmax, kCrossEntropy, kCrossEntropyGrad, kUniform;

namespace ops {

// All of them. Users may add their own; the set lives as long as the program.
OpSet& standard_ops();

}  // namespace ops
}  // namespace tessera
