// The patches of an image as a matrix: row (c, p, q) of the kernel, one column for each output
// pixel; zero where the kernel hangs over the border.
#pragma once

#include "ops/conv/conv.h"
#include "ops/conv/line_kernels.h"

namespace tessera {

const LineKernels& line_kernels(CpuFeatures features);

// Rows [row0, row0 + rows) and columns [col0, col0 + cols) of the patches of one group's channels
// x [c / groups, h, w], to dst[row * ld + col].
void im2col(const LineKernels& lines, const ConvGeometry& g, const float* x, std::int64_t row0,
            std::int64_t rows, std::int64_t col0, std::int64_t cols, float* dst, std::int64_t ld);

// The transpose: adds all patches [patch(), oh * ow] into x.
void col2im_add(const LineKernels& lines, const ConvGeometry& g, const float* patches, float* x);

}  // namespace tessera
