// The one explicit list of operators.
#pragma once

#include "core/op_def.h"

namespace tessera {

// elementwise
extern const OpDef kAdd, kSub, kMul, kDiv, kMaximum, kMinimum, kPow, kGreater, kGreaterEqual,
    kEqual, kWhere, kClamp, kNeg, kAbs, kSqrt, kRsqrt, kSquare, kExp, kLog, kTanh, kSigmoid, kRelu,
    kSign, kSin, kCos, kFloor, kRound, kErf, kSoftplus, kDetach, kScaleGradient;
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
