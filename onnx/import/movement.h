// Rows of movement_rows() that have files of their own.
#pragma once

#include "onnx/import/context.h"

namespace tessera::onnx {

void gather(Context& c);   // gather.cpp
void one_hot(Context& c);  // gather.cpp
void pad(Context& c);      // pad.cpp

}  // namespace tessera::onnx
