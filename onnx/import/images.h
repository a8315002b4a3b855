// Rows of image_rows() that have files of their own.
#pragma once

#include "onnx/import/context.h"

namespace tessera::onnx {

void resize(Context& c);  // resize.cpp; Upsample, its older name, too

}  // namespace tessera::onnx
