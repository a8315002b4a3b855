#include "ops/codebook/codebook_matmul.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/threads.h"
#include "ops/codebook/byte_panels.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/packed_kernels.h"
#include "ops/codebook/panel_fill.h"

namespace tessera {
namespace {

constexpr int64_t kLanes = kGemmLanes;
constexpr double kThreadWork = 100e3;

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr size_t align64(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// Panels from `panel` on that use the same table.
int64_t same_table(const CodebookView& v, const PackedLayout& l, int64_t panel) {
  if (!v.group_rows) return l.panels - panel;
  return std::min(l.panels, (panel * kLanes / v.group_rows + 1) * (v.group_rows / kLanes)) - panel;
}

int log2_of(int vectors) {
  return vectors >= 8 ? 3 : vectors >= 4 ? 2 : vectors >= 2 ? 1 : 0;
}

// The registers method: panels [begin, end) for all rows of x.
void run_registers(const CodebookMatmulPlan& plan, const CodebookMatmulArgs& args, int64_t begin,
                   int64_t end, float* tile) {
  const CodebookView& v = plan.problem.view;
  const PackedLayout l = layout_of(v);
  const PackedKernels& kernels = packed_kernels(plan.features);
  const auto* packed = static_cast<const char*>(args.packed);
  const bool ref = &kernels == &tessera_packed_ref;
  for (int64_t panel = begin; panel < end;) {
    const int64_t run = std::min(end - panel, same_table(v, l, panel));
    int vectors = static_cast<int>(std::min<int64_t>(run, plan.vectors));
    vectors = 1 << log2_of(vectors);
    const int64_t col0 = panel * kLanes;
    const int64_t cols = std::min(v.rows - col0, vectors * kLanes);
    const auto tail = static_cast<int32_t>(cols - (vectors - 1) * kLanes);
    for (int64_t row = 0; row < plan.problem.m; row += plan.rows) {
      const int rows = static_cast<int>(std::min<int64_t>(plan.rows, plan.problem.m - row));
      float* y = plan.problem.epilogue ? tile : args.y + row * args.ldy + col0;
      const int64_t ldy = plan.problem.epilogue ? vectors * kLanes : args.ldy;
      if (v.vector_len > 1) {
        kernels.vector_tile[v.bits - 1][ref ? 0 : log2_of(vectors)](
            {panels_at(v, l, packed, panel, 0), indices_of(v), args.x + row * args.x_rs, y, v.bits,
             v.vector_len, vectors, tail});
        if (plan.problem.epilogue)
          args.epilogue(args.epilogue_context, row, rows, col0, cols, y, ldy);
        continue;
      }
      const auto* table = kernels.tile[v.bits - 1][rows - 1];
      const int64_t block = v.block ? v.block : std::max<int64_t>(v.cols, 1);
      for (int64_t k0 = 0; k0 < v.cols || k0 == 0; k0 += block) {
        const int64_t k = std::min(block, v.cols - k0);
        table[ref ? 0 : log2_of(vectors)]({panels_at(v, l, packed, panel, k0 / block), k0, k,
                                           args.x + row * args.x_rs + k0, args.x_rs, y, ldy, v.bits,
                                           rows, vectors, tail, k0 > 0});
      }
      if (plan.problem.epilogue)
        args.epilogue(args.epilogue_context, row, rows, col0, cols, y, ldy);
    }
    panel += vectors;
  }
}

// The same from byte panels.
void run_byte_registers(const CodebookMatmulPlan& plan, const CodebookMatmulArgs& args,
                        int64_t begin, int64_t end, float* tile) {
  const CodebookView& v = plan.problem.view;
  for (int64_t panel = begin; panel < end; ++panel) {
    const int64_t col0 = panel * kLanes, cols = std::min(v.rows - col0, kLanes);
    for (int64_t row = 0; row < plan.problem.m; row += plan.rows) {
      const int rows = static_cast<int>(std::min<int64_t>(plan.rows, plan.problem.m - row));
      float* y = plan.problem.epilogue ? tile : args.y + row * args.ldy + col0;
      const int64_t ldy = plan.problem.epilogue ? kLanes : args.ldy;
      multiply_byte_panel(v, args.packed,
                          {panel, args.x + row * args.x_rs, args.x_rs, rows, y, ldy});
      if (plan.problem.epilogue)
        args.epilogue(args.epilogue_context, row, rows, col0, cols, y, ldy);
    }
  }
}

}  // namespace

bool packable(const CodebookView& v, const char** reason) {
  const char* why = nullptr;
  if (v.bits > kPackedMaxBits)
    why = "more than 6 bits";
  else if (v.vector_len != 1 && v.bits > kPackedMaxVectorBits)
    why = "vectors of more than 5 bits";
  else if (v.vector_len != 1 && v.block)
    why = "vectors with a scale";
  else if (v.group_rows % kLanes)
    why = "row groups are no multiple of 16";
  else if (v.block % 8 && v.block < v.cols)
    why = "scale blocks are no multiple of 8";
  else if (const PackedLayout l = layout_of(v); l.scales > kMostTables && l.scales > l.bytes / 2)
    why = "the tables outweigh the indices";
  if (reason) *reason = why ? why : "";
  return !why;
}

size_t packed_bytes(const CodebookView& view) {
  return layout_of(view).bytes;
}

namespace {

// Entries by weight, repeated to whole registers: bits of the next index may stand above an index.
void write_vector_tables(const CodebookView& v, CpuFeatures features, char* packed) {
  std::vector<char> memory(decoder_bytes(v) + 64);
  char* aligned = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  make_decoder(v, features, aligned);
  const PackedLayout l = layout_of(v);
  const int64_t stride = vector_stride(v), mask = (int64_t{1} << v.bits) - 1;
  for (int64_t g = 0; g < codebook_groups(v); ++g) {
    const auto* entries =
        reinterpret_cast<const float*>(aligned + decoder_table_bytes(v) * static_cast<size_t>(g));
    auto* table = reinterpret_cast<float*>(packed + l.table_stride * static_cast<size_t>(g));
    for (int64_t e = 0; e < v.vector_len; ++e) {
      for (int64_t i = 0; i < stride; ++i)
        table[e * stride + i] = (i & mask) < v.k ? entries[(i & mask) * v.vector_len + e] : 0.0f;
    }
  }
}

}  // namespace

void repack_codebook(const CodebookView& v, CpuFeatures features, void* packed) {
  TESSERA_ASSERT(packable(v));
  const PackedLayout l = layout_of(v);
  auto* base = static_cast<char*>(packed);
  if (v.vector_len == 1) {
    make_decoder(v, features, base);
  } else {
    write_vector_tables(v, features, base);
  }
  auto* scales = reinterpret_cast<float*>(base + l.scales);
  const int64_t grain = 1 + 16384 / (kLanes * std::max<int64_t>(v.cols, 1));
  parallel_for(l.panels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      auto* out = reinterpret_cast<uint8_t*>(base + l.indices) + panel * l.panel_stride;
      std::memset(out, 0, static_cast<size_t>(l.panel_stride));
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const int64_t row = panel * kLanes + lane;
        for (int64_t b = 0; b < l.blocks; ++b)
          scales[(panel * l.blocks + b) * kLanes + lane] =
              row < v.rows ? v.scale[row * l.blocks + b] : 0.0f;
        if (row >= v.rows) continue;
        uint8_t index[1024];
        const int64_t columns = indices_of(v);
        for (int64_t c = 0; c < columns; c += 1024) {
          const int64_t n = std::min<int64_t>(1024, columns - c);
          unpack_indices(v.indices, row * columns + c, n, v.bits, index);
          for (int64_t i = 0; i < n; i += 8) {
            uint64_t word = 0;  // the 8 indices of a step
            for (int64_t j = 0; j < std::min<int64_t>(8, n - i); ++j)
              word |= uint64_t{index[i + j]} << (j * v.bits);
            uint8_t* step = out + (c + i) / 8 * kLanes * v.bits;
            for (int size = 4; size; size /= 2) {
              if (!(v.bits & size)) continue;
              for (int b = 0; b < size; ++b, word >>= 8)
                step[lane * size + b] = static_cast<uint8_t>(word);
              step += kLanes * size;
            }
          }
        }
      }
    }
  });
}

CodebookMatmulPlan prepare_codebook_matmul(const CodebookMatmulProblem& problem,
                                           CpuFeatures features, int threads) {
  TESSERA_ASSERT(problem.packed + problem.transposed + problem.bytes <= 1);
  const CodebookView& v = problem.view;
  TESSERA_ASSERT(!problem.packed || packable(v));
  CodebookMatmulPlan plan{};
  plan.problem = problem;
  plan.features = features;
  plan.registers = (problem.packed && problem.m <= packed_rows(v)) ||
                   (problem.bytes && problem.m <= kByteRegisterRows && byte_panels_multiply(v));
  TESSERA_ASSERT(!problem.packed || plan.registers || v.vector_len == 1);
  plan.method = plan.registers ? "registers" : "panel";
  if (plan.registers) {
    const int64_t panels = std::max<int64_t>(1, ceil_div(v.rows, kLanes));
    const double work = static_cast<double>(problem.m + 2) * v.rows * v.cols;
    plan.threads = static_cast<int>(std::clamp<double>(
        work / std::min<double>(kThreadWork, detail::grain_limit()), 1, threads));
    plan.threads = static_cast<int>(std::min<int64_t>(plan.threads, panels));
    const int64_t most = problem.bytes ? kByteTileRows : v.vector_len > 1 ? 1 : kPackedMaxRows;
    const int64_t passes = std::max<int64_t>(1, ceil_div(problem.m, most));
    plan.rows = static_cast<int>(std::max<int64_t>(1, ceil_div(problem.m, passes)));
    plan.vectors = problem.bytes ? 1 : kPackedMaxVectors;
    const PackedKernels& kernels = packed_kernels(features);
    while (plan.vectors > 1 && v.vector_len == 1 && &kernels != &tessera_packed_ref &&
           !kernels.tile[v.bits - 1][plan.rows - 1][log2_of(plan.vectors)])
      plan.vectors /= 2;
    plan.thread_scratch =
        problem.epilogue ? align64(sizeof(float) * plan.rows * plan.vectors * kLanes) : 0;
    plan.scratch_bytes = plan.thread_scratch * plan.threads;
    return plan;
  }
  GemmProblem gemm;
  gemm.m = problem.m;
  gemm.n = problem.transposed ? v.cols : v.rows;
  gemm.k = problem.transposed ? v.rows : v.cols;
  gemm.b = GemmB::kFill;
  gemm.epilogue = problem.epilogue;
  const bool planes = !problem.packed && !problem.bytes;
  gemm.fill_scratch = planes && !problem.transposed ? sizeof(float) * kRowFloats : 0;
  const bool all_tables = planes && fills_all_tables(v);
  if (planes && !all_tables) gemm.fill_scratch += decoder_table_bytes(v);
  plan.gemm = prepare_gemm(gemm, features, threads);
  plan.threads = plan.gemm.threads;
  plan.scratch_bytes = plan.gemm.scratch_bytes + (all_tables ? align64(decoder_bytes(v)) : 0);
  return plan;
}

void run_codebook_matmul(const CodebookMatmulPlan& plan, const CodebookMatmulArgs& args,
                         void* scratch) {
  const CodebookMatmulProblem& p = plan.problem;
  auto* memory = static_cast<char*>(scratch);
  if (plan.registers) {
    if (p.m == 0 || p.view.rows == 0) return;
    const int64_t panels = ceil_div(p.view.rows, kLanes);
    parallel_parts(plan.threads, [&](int64_t part) {
      (p.bytes ? run_byte_registers : run_registers)(
          plan, args, panels * part / plan.threads, panels * (part + 1) / plan.threads,
          reinterpret_cast<float*>(memory + plan.thread_scratch * part));
    });
    return;
  }
  GemmArgs gemm;
  gemm.a = args.x;
  gemm.a_rs = args.x_rs;
  gemm.c = args.y;
  gemm.ldc = args.ldy;
  gemm.epilogue = args.epilogue;
  gemm.epilogue_context = args.epilogue_context;
  if (p.packed) {
    const PackedSource source{p.view, layout_of(p.view), &packed_kernels(plan.features),
                              static_cast<const char*>(args.packed)};
    gemm.fill = fill_packed;
    gemm.fill_context = &source;
    run_gemm(plan.gemm, gemm, memory);
    return;
  }
  if (p.bytes) {
    const ByteSource source{p.view, args.packed};
    gemm.fill = fill_bytes;
    gemm.fill_context = &source;
    run_gemm(plan.gemm, gemm, memory);
    return;
  }
  CodebookDecoder decoder;
  const bool all_tables = fills_all_tables(p.view);
  if (all_tables)
    decoder = make_decoder(args.view, plan.features, memory + plan.gemm.scratch_bytes);
  const LogicalSource source{args.view, plan.features, all_tables ? &decoder : nullptr,
                             plan.gemm.kernels};
  gemm.fill = p.transposed ? fill_rows : fill_columns;
  gemm.fill_context = &source;
  run_gemm(plan.gemm, gemm, memory);
}

}  // namespace tessera
