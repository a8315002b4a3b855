// Shape arithmetic: elementwise operators whose operands are all known and small are done while the
// graph is read, the batch as a symbol in them.
#pragma once

#include "onnx/import/context.h"

namespace tessera::onnx {

inline bool truth(double v) {
  return v != 0;
}

// The result of the node, whose operands are constants, by `function` of one element of each;
// integers are added, subtracted, multiplied and divided exactly. Error where operands are of
// different kinds, or what becomes of the batch is not known.
using Function = double (*)(const double*);
void fold(Context& c, Function function, bool gives_truth);

}  // namespace tessera::onnx
