#include "ops/codebook/codebook_matmul.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/codebook/byte_panels.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/packed_kernels.h"
#include "ops/codebook/weight_panels.h"

namespace tessera {
namespace {

constexpr int64_t kLanes = kGemmLanes;
// Elements of a row decoded before they are transposed into a panel: 16 rows of them are 16 KB.
constexpr int64_t kDecodeStep = 256;
constexpr double kThreadWork = 100e3;
// Bytes of tables that are filled before a product; those of more groups are filled one at a time.
constexpr size_t kMostTables = 16 << 20;

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr size_t align64(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// Indices of a row.
int64_t indices_of(const CodebookView& v) {
  return v.cols / v.vector_len;
}

// Floats between the weights of an entry in the table of a vector kernel.
int64_t vector_stride(const CodebookView& v) {
  return std::max<int64_t>(kLanes, int64_t{1} << v.bits);
}

PackedLayout layout_of(const CodebookView& v) {
  PackedLayout l{};
  l.panels = ceil_div(v.rows, kLanes);
  l.blocks = codebook_blocks(v);
  l.panel_stride = ceil_div(indices_of(v), 8) * kLanes * v.bits;
  if (v.vector_len == 1) {
    l.table_stride = decoder_table_bytes(v);
    l.scales = align64(decoder_bytes(v));
  } else {
    l.table_stride = sizeof(float) * static_cast<size_t>(v.vector_len * vector_stride(v));
    l.scales = align64(l.table_stride * static_cast<size_t>(codebook_groups(v)));
  }
  l.indices = l.scales + sizeof(float) * kLanes * l.panels * l.blocks;
  l.bytes = l.indices + static_cast<size_t>(l.panels * l.panel_stride);
  return l;
}

const PackedKernels& packed_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx2 | kAvx512)) return tessera_packed_avx512;
#endif
  return tessera_packed_ref;
}

PackedPanels panels_at(const CodebookView& v, const PackedLayout& l, const char* packed,
                       int64_t panel, int64_t block) {
  PackedPanels p{};
  p.panels = reinterpret_cast<const uint8_t*>(packed + l.indices) + panel * l.panel_stride;
  p.panel_stride = l.panel_stride;
  p.table =
      reinterpret_cast<const float*>(packed + l.table_stride * codebook_group(v, panel * kLanes));
  if (v.block)
    p.scale =
        reinterpret_cast<const float*>(packed + l.scales) + (panel * l.blocks + block) * kLanes;
  p.scale_stride = l.blocks * kLanes;
  return p;
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

// Panels from the packed form: already transposed, decoded straight into place.
struct PackedSource {
  CodebookView view;
  PackedLayout layout;
  const PackedKernels* kernels;
  const char* packed;
  const int32_t* order = nullptr;  // of the elements of a panel; null: as they come
};

void fill_packed(const void* context, const GemmPanel& p, void*) {
  const auto& s = *static_cast<const PackedSource*>(context);
  const CodebookView& v = s.view;
  for (int64_t c = 0; c < p.cols; c += kLanes) {
    const int64_t panel = (p.col0 + c) / kLanes;
    auto* const fill =
        v.vector_len > 1 ? s.kernels->vector_fill[v.bits - 1] : s.kernels->fill[v.bits - 1];
    for (int64_t k = 0; k < p.k;) {
      const int64_t block = v.block ? (p.k0 + k) / v.block : 0;
      const int64_t count = v.block ? std::min(p.k - k, (block + 1) * v.block - p.k0 - k) : p.k;
      fill({panels_at(v, s.layout, s.packed, panel, block), p.k0 + k, count,
            p.dst + (s.order ? c / kLanes * p.vs : k * p.ks + c / kLanes * p.vs), p.ks, v.bits,
            s.order ? s.order + k : nullptr, v.vector_len});
      k += count;
    }
  }
}

// Panels from indices of a byte each.
struct ByteSource {
  CodebookView view;
  const void* packed;
};
void fill_bytes(const void* context, const GemmPanel& p, void*) {
  const auto& s = *static_cast<const ByteSource*>(context);
  fill_byte_panels(s.view, s.packed, {p.col0, p.cols, p.k0, p.k, p.dst, p.ks, p.vs, nullptr});
}

// Panels from the logical order: W's rows are the columns of B and are transposed.
struct LogicalSource {
  CodebookView view;
  CpuFeatures features;
  const CodebookDecoder* decoder;  // with all tables; null: one at a time
  const GemmKernels* kernels;

  // Calls fn(span), span(row, col0, cols, out) decoding; `scratch` is room for a table.
  template <class Fn>
  void decode(void* scratch, Fn&& fn) const {
    if (decoder != nullptr) {
      fn([this](int64_t row, int64_t col0, int64_t cols, float* out) {
        decode_span(*decoder, row, col0, cols, out);
      });
    } else {
      GroupDecoder one(view, features, scratch);
      fn([&one](int64_t row, int64_t col0, int64_t cols, float* out) {
        one.span(row, col0, cols, out);
      });
    }
  }
};

bool fills_all_tables(const CodebookView& view) {
  return decoder_bytes(view) <= kMostTables;
}
constexpr int64_t kRowFloats = kLanes * kDecodeStep;

void fill_columns(const void* context, const GemmPanel& p, void* scratch) {
  const auto& s = *static_cast<const LogicalSource*>(context);
  auto* rows = static_cast<float*>(scratch);
  s.decode(rows + kRowFloats, [&](const auto& span) {
    for (int64_t c = 0; c < p.cols; c += kLanes) {
      const int64_t count = std::min(kLanes, p.cols - c);
      for (int64_t k = 0; k < p.k; k += kDecodeStep) {
        const int64_t depth = std::min(kDecodeStep, p.k - k);
        for (int64_t r = 0; r < count; ++r)
          span(p.col0 + c + r, p.k0 + k, depth, rows + r * kDecodeStep);
        s.kernels->pack_transpose(
            {rows, kDecodeStep, count, depth, p.dst + k * p.ks + c / kLanes * p.vs, p.ks, p.vs});
      }
    }
  });
}

// W's rows are the rows of B.
void fill_rows(const void* context, const GemmPanel& p, void* scratch) {
  const auto& s = *static_cast<const LogicalSource*>(context);
  TESSERA_ASSERT(p.vs == kLanes);
  const int64_t padded = ceil_div(p.cols, kLanes) * kLanes;
  s.decode(scratch, [&](const auto& span) {
    for (int64_t k = 0; k < p.k; ++k) {
      float* dst = p.dst + k * p.ks;
      span(p.k0 + k, p.col0, p.cols, dst);
      std::fill(dst + p.cols, dst + padded, 0.0f);
    }
  });
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
  plan.registers = problem.packed && problem.m <= packed_rows(v);
  TESSERA_ASSERT(!problem.packed || plan.registers || v.vector_len == 1);
  plan.method = plan.registers ? "registers" : "panel";
  if (plan.registers) {
    const int64_t panels = std::max<int64_t>(1, ceil_div(v.rows, kLanes));
    const double work = static_cast<double>(problem.m + 2) * v.rows * v.cols;
    plan.threads = static_cast<int>(std::clamp<double>(work / kThreadWork, 1, threads));
    plan.threads = static_cast<int>(std::min<int64_t>(plan.threads, panels));
    const int64_t most = v.vector_len > 1 ? 1 : kPackedMaxRows;
    const int64_t passes = std::max<int64_t>(1, ceil_div(problem.m, most));
    plan.rows = static_cast<int>(std::max<int64_t>(1, ceil_div(problem.m, passes)));
    plan.vectors = kPackedMaxVectors;
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
      run_registers(plan, args, panels * part / plan.threads, panels * (part + 1) / plan.threads,
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

// ---- panels for other kernels ----

WeightPanels::WeightPanels(const CodebookView& view, bool fixed, CpuFeatures features)
    : view_(view), form_(Form::planes), features_(features) {
  if (!fixed) return;
  if (packable(view)) {
    form_ = Form::panels;
  } else if (byte_panels_fit(view, features)) {
    form_ = Form::bytes;
  }
}
WeightPanels::WeightPanels(int64_t rows, int64_t cols, CpuFeatures features)
    : form_(Form::dense), features_(features) {
  view_.rows = rows;
  view_.cols = cols;
}

std::size_t WeightPanels::packed_bytes() const {
  return form_ == Form::bytes ? byte_panels_bytes(view_) : tessera::packed_bytes(view_);
}
void WeightPanels::pack(const CodebookView& view, void* packed) const {
  form_ == Form::bytes ? pack_byte_panels(view, packed) : repack_codebook(view, features_, packed);
}

std::size_t WeightPanels::table_bytes() const {
  return form_ == Form::planes && fills_all_tables(view_) ? align64(decoder_bytes(view_)) : 0;
}
std::size_t WeightPanels::thread_bytes() const {
  if (packed()) return 0;
  const size_t table =
      form_ == Form::dense || table_bytes() > 0 ? 0 : align64(decoder_table_bytes(view_));
  return sizeof(float) * 2 * kRowFloats + table;
}

WeightPanels::Bound WeightPanels::bind(const CodebookView& view, const void* matrix,
                                       void* tables) const {
  Bound out{};
  out.panels = this;
  out.view = form_ == Form::planes ? view : view_;
  out.matrix = matrix;
  if (form_ == Form::panels) out.layout = layout_of(view_);
  if (table_bytes() > 0) out.decoder = make_decoder(view, features_, tables);
  return out;
}

void WeightPanels::Bound::fill(int64_t row0, int64_t rows, int64_t k0, int64_t k, float* dst,
                               int64_t ks, int64_t vs, void* thread_scratch,
                               const int32_t* order) const {
  if (!panels->packed()) return fill_rows(row0, rows, k0, k, dst, ks, vs, thread_scratch, order);
  if (panels->form_ == Form::bytes) {
    fill_byte_panels(view, matrix, {row0, rows, k0, k, dst, ks, vs, order});
  } else {
    const PackedSource source{view, layout, &packed_kernels(panels->features_),
                              static_cast<const char*>(matrix), order};
    fill_packed(&source, {k0, k, row0, rows, dst, ks, vs}, nullptr);
  }
  // Rows that fill up the last panel have indices too.
  if (rows % kLanes == 0) return;
  float* last = dst + rows / kLanes * vs;
  for (int64_t i = 0; i < k; ++i) {
    float* at = last + (order ? order[i] : i) * ks;
    std::fill(at + rows % kLanes, at + kLanes, 0.0f);
  }
}

// Rows that are decoded, or lie, one after the other.
void WeightPanels::Bound::fill_rows(int64_t row0, int64_t rows, int64_t k0, int64_t k, float* dst,
                                    int64_t ks, int64_t vs, void* thread_scratch,
                                    const int32_t* order) const {
  auto* scratch = static_cast<float*>(thread_scratch);
  const LogicalSource source{view, panels->features_,
                             panels->table_bytes() > 0 ? &decoder : nullptr,
                             &gemm_kernels(panels->features_)};
  const auto fill = [&](const GemmPanel& part) {
    if (panels->form_ == Form::planes) return fill_columns(&source, part, scratch + kRowFloats);
    const float* from = static_cast<const float*>(matrix) + part.col0 * view.cols + part.k0;
    source.kernels->pack_transpose(
        {from, view.cols, part.cols, part.k, part.dst, part.ks, part.vs});
  };
  if (!order) return fill({k0, k, row0, rows, dst, ks, vs});
  for (int64_t r = 0; r < rows; r += kLanes) {
    for (int64_t i = 0; i < k; i += kDecodeStep) {
      const int64_t count = std::min(kDecodeStep, k - i);
      fill({k0 + i, count, row0 + r, std::min(kLanes, rows - r), scratch, kLanes, kLanes});
      for (int64_t j = 0; j < count; ++j)
        std::memcpy(dst + order[i + j] * ks + r / kLanes * vs, scratch + j * kLanes,
                    sizeof(float) * kLanes);
    }
  }
}

}  // namespace tessera
