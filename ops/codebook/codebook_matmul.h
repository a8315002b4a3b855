// Products with codebook-encoded weights: y[m, n] = sum over k of x[m, k] * W(n, k), where W stays
// encoded. Small batches decode in registers from a packed layout; larger ones decode a tile into
// per-thread scratch and run the dense register tiles on it. The whole tensor is never decoded.
// f32 accumulators; bits do not depend on the thread count.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cpu.h"
#include "ops/codebook/view.h"
#include "ops/matmul/gemm.h"

namespace tessera {

// True when repack_codebook can hold the encoding: at most 6 bits an index, row groups of whole
// panels (16 rows) and scale blocks of a multiple of 8 elements; entries of several elements with
// at most 5 bits and no scale. reason, when given, gets one word group saying what stands against
// it.
bool packable(const CodebookView& view, const char** reason = nullptr);

// Up to this many rows of x the packed form is multiplied in registers: decoding again for every 8
// of them beats a panel in memory. Entries of several elements make a table for each row.
inline int64_t packed_rows(const CodebookView& view) {
  return view.vector_len > 1 ? 32 : view.bits <= 4 ? 64 : 16;
}

// The same of byte panels.
inline constexpr int64_t kByteRegisterRows = 32;

// Where things are in the packed form.
struct PackedLayout {
  int64_t panels, blocks;
  int64_t panel_stride;
  size_t table_stride, scales, indices, bytes;
};

// Bytes of the packed form: f32 tables, scales with rows padded to 16, and the indices with rows
// padded to 16 and columns to 8.
size_t packed_bytes(const CodebookView& view);

// Writes the packed form (64-byte aligned). bf16 and s8 entries become f32 tables.
void repack_codebook(const CodebookView& view, CpuFeatures features, void* packed);

struct CodebookMatmulProblem {
  int64_t m = 0;
  CodebookView view;        // sizes and encoding; pointers are not read
  bool transposed = false;  // y[m, cols] = x[m, rows] * W instead of y[m, rows] = x[m, cols] * W^T
  bool packed = false;      // W is given by repack_codebook, else as the view's planes
  bool epilogue = false;
  bool bytes = false;  // W is given by pack_byte_panels
};

struct CodebookMatmulPlan {
  CodebookMatmulProblem problem;
  const char* method;  // "registers" or "panel"
  bool registers;
  int threads;
  int rows, vectors;  // register tile of the registers method
  CpuFeatures features;
  GemmPlan gemm;  // of the panel method
  size_t thread_scratch, scratch_bytes;
};

struct CodebookMatmulArgs {
  const float* x = nullptr;  // element (m, k) at x[m * x_rs + k]
  int64_t x_rs = 0;
  CodebookView view;             // the weights, with pointers, unless packed
  const void* packed = nullptr;  // the weights when the problem says packed or bytes
  float* y = nullptr;            // row stride ldy; unused with an epilogue
  int64_t ldy = 0;
  GemmEpilogue epilogue = nullptr;
  void* epilogue_context = nullptr;
};

// Chooses the method. Packed, bytes and transposed exclude each other.
CodebookMatmulPlan prepare_codebook_matmul(const CodebookMatmulProblem& problem,
                                           CpuFeatures features, int threads);

// Runs the plan; scratch has plan.scratch_bytes bytes, 64-byte aligned.
void run_codebook_matmul(const CodebookMatmulPlan& plan, const CodebookMatmulArgs& args,
                         void* scratch);

}  // namespace tessera
