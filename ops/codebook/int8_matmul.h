// Products with codebook weights in integers: y[m, n] = sum over k of x[m, k] * W(n, k), the rows
// of x rounded to bytes with a scale and a zero point of their own, the entries of each codebook to
// signed bytes with a scale. Sums are exact integers, so every instruction set and every number of
// threads gives the same bits; what is lost is lost by rounding:
//   |y - exact| <= sum over k of  dx |W(n, k)| + |x[m, k]| dw + dx dw,
// dx = the range of the row and 0 over 255, dw = half the entry scale times |block scale|. A row of
// x that holds a NaN or an infinity gives NaN; one whose values span less than 2^-110 gives zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cpu.h"
#include "ops/codebook/int8_kernels.h"
#include "ops/codebook/int8_pack.h"
#include "ops/codebook/view.h"
#include "ops/matmul/gemm.h"

namespace tessera {

// The best kernels that `features` allows.
const Int8Kernels& int8_kernels(CpuFeatures features);

struct Int8MatmulPlan {
  int64_t m;
  CodebookView view;  // sizes and encoding
  const Int8Kernels* kernels;
  bool epilogue;
  bool registers;  // decoded in registers for every few rows of x, else into scratch for many
  bool sums;       // by tables of partial sums
  int threads;
  int64_t tile_rows, vectors;  // rows of x and panels a kernel takes
  size_t row_bytes;            // of a rounded row of x; all of them come first in the scratch
  size_t rows_at, tables_at, threads_at, tile_bytes, thread_scratch, scratch_bytes;
};

struct Int8MatmulArgs {
  const float* x = nullptr;  // [m, cols]
  int64_t x_rs = 0;
  const void* packed = nullptr;
  float* y = nullptr;  // row stride ldy; unused with an epilogue
  int64_t ldy = 0;
  GemmEpilogue epilogue = nullptr;
  void* epilogue_context = nullptr;
};

Int8MatmulPlan prepare_int8_matmul(int64_t m, const CodebookView& view, bool epilogue,
                                   CpuFeatures features, int threads);

// Runs the plan; scratch has plan.scratch_bytes bytes, 64-byte aligned.
void run_int8_matmul(const Int8MatmulPlan& plan, const Int8MatmulArgs& args, void* scratch);

}  // namespace tessera
