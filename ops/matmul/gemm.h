// Dense f32 matrix product C[m, n] (+)= A[m, k] * B[k, n] for small and middle sizes: prepared
// once, run without allocation. B may be dense either way round, packed panels, or filled by a
// callback (how codebook weights are multiplied). f32 accumulators; every element of C is summed by
// one thread in increasing k with the same blocking, so its bits do not depend on the thread count.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cpu.h"
#include "ops/matmul/gemm_kernels.h"

namespace tessera {

// How B is given.
enum class GemmB : uint8_t {
  kRows,     // dense [k, n], row stride ldb
  kColumns,  // dense [n, k] (a linear layer's weights), row stride ldb; transposed tile by tile
  kPanels,   // the layout pack_panels writes; no other copy is made
  kFill,     // a callback writes the part of B that is needed next
};

// A part of B that a fill callback writes: element (k0 + i, col0 + j) for i < k, j < cols goes to
// dst[i * ks + j / 16 * vs + j % 16], zeros up to the next multiple of 16 columns.
struct GemmPanel {
  int64_t k0, k;
  int64_t col0, cols;
  float* dst;
  int64_t ks, vs;
};
// scratch: the calling thread's fill_scratch bytes. Called from several threads at once.
using GemmFill = void (*)(const void* context, const GemmPanel& panel, void* scratch);

// Receives rows [row0, row0 + rows) x columns [col0, col0 + cols) of the product as soon as it is
// finished, at tile[r * ld + c], hot in cache; it may overwrite the tile. C itself is not written.
using GemmEpilogue = void (*)(void* context, int64_t row0, int64_t rows, int64_t col0, int64_t cols,
                              float* tile, int64_t ld);

struct GemmProblem {
  int64_t m = 0, n = 0, k = 0;
  GemmB b = GemmB::kColumns;
  bool epilogue = false;
  size_t fill_scratch = 0;  // bytes a fill callback wants per thread
  // Vectors of 16 columns that an epilogue gets together, of which n is a multiple; 0: as the
  // driver likes.
  int vectors = 0;
  bool transposed_a = false;  // a_rs is 1: A's rows of some tiles at a time are first copied
};

// What prepare_gemm decided; plain data.
struct GemmPlan {
  GemmProblem problem;
  const GemmKernels* kernels;
  int threads;
  int rows, vectors;  // register tile
  int64_t groups;     // column groups of at most `vectors` vectors, as even as possible
  int64_t row_block;  // rows that share one filled panel
  int64_t k_block;    // products longer than this are summed in several passes
  bool panel;         // a part of B is first copied to scratch
  bool pack_a;        // the part of A of a row block is, too
  size_t thread_scratch, scratch_bytes;
};

struct GemmArgs {
  const float* a = nullptr;  // element (m, k) at a[m * a_rs + k * a_cs]
  int64_t a_rs = 0, a_cs = 1;
  const float* b = nullptr;
  int64_t ldb = 0;
  GemmFill fill = nullptr;
  const void* fill_context = nullptr;
  float* c = nullptr;
  int64_t ldc = 0;
  bool accumulate = false;  // C += instead of C =; not with an epilogue
  GemmEpilogue epilogue = nullptr;
  void* epilogue_context = nullptr;
  // Called before the products of a tile are summed, with no tile: the place to prefetch what the
  // epilogue will read and write. May be null.
  GemmEpilogue before_tile = nullptr;
};

// The best kernels that `features` allows.
const GemmKernels& gemm_kernels(CpuFeatures features);

// Chooses tile, blocking and thread split for at most `threads` threads. Sizes may be 0.
GemmPlan prepare_gemm(const GemmProblem& problem, CpuFeatures features, int threads);

// Runs the plan; scratch has plan.scratch_bytes bytes, 64-byte aligned.
void run_gemm(const GemmPlan& plan, const GemmArgs& args, void* scratch);

// Bytes of the panels of a [k, n] matrix: n rounded up to 16 columns.
size_t panel_bytes(int64_t n, int64_t k);

// Writes B as panels: vector v of 16 columns is the contiguous matrix [k, 16] at dst + v * 16 * k,
// zero padded. b and ldb as for the given kind (kRows or kColumns).
void pack_panels(CpuFeatures features, GemmB kind, int64_t n, int64_t k, const float* b,
                 int64_t ldb, float* dst);

}  // namespace tessera
