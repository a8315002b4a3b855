#include "ops/codebook/int8_matmul.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/codebook/int8_pack.h"

namespace tessera {
namespace {

constexpr int64_t kPanel = kInt8PanelRows;
constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr size_t align64(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// Rows of x up to which decoding in registers is not slower than a tile in scratch.
constexpr int64_t kRegisterRows = 8;
constexpr int64_t kRowBlock = 120;     // rows of x that share a decoded tile
constexpr double kThreadWork = 400e3;  // products worth a thread
// Subsets of columns are summed for so few rows, and where so many panels look them up.
constexpr int64_t kSumRows = 2, kSumPanels = 12;
constexpr int kMostVectors = 8;  // panels a kernel takes

int rows_index(int64_t rows) {
  int i = 0;
  while (kInt8Rows[i] < rows) ++i;
  return i;
}

// Where the parts of a run's scratch are.
struct Rows {
  uint8_t* x;
  float* scale;
  int32_t *zero, *total;
  uint8_t* tables;
};

int64_t table_bytes(const Int8MatmulPlan& plan) {  // of a row
  return static_cast<int64_t>(plan.row_bytes) / kInt8Step * 256;
}

Rows rows_at(const Int8MatmulPlan& plan, char* scratch) {
  const int64_t padded = plan.m + kInt8MaxRows;
  auto* scale = reinterpret_cast<float*>(scratch + plan.rows_at);
  auto* zero = reinterpret_cast<int32_t*>(scale + padded);
  return {reinterpret_cast<uint8_t*>(scratch), scale, zero, zero + padded,
          reinterpret_cast<uint8_t*>(scratch + plan.tables_at)};
}

void quantize_rows(const Int8MatmulPlan& plan, const Int8MatmulArgs& args, const Rows& rows) {
  const int64_t grain = 1 + 65536 / std::max<int64_t>(plan.view.cols, 1);
  parallel_for(plan.m, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      plan.kernels->quantize({args.x + r * args.x_rs, plan.view.cols,
                              rows.x + r * static_cast<int64_t>(plan.row_bytes), rows.scale + r,
                              rows.zero + r});
  });
  if (plan.sums) {
    for (int64_t r = 0; r < plan.m; ++r)
      plan.kernels->subsets({rows.x + r * static_cast<int64_t>(plan.row_bytes),
                             static_cast<int64_t>(plan.row_bytes) / kInt8Step,
                             rows.tables + r * table_bytes(plan), rows.total + r});
  }
  // Kernels read as many rows as they are made for.
  std::memset(rows.x + static_cast<size_t>(plan.m) * plan.row_bytes, 0,
              kInt8MaxRows * plan.row_bytes);
  std::fill_n(rows.scale + plan.m, kInt8MaxRows, 0.0f);
  std::fill_n(rows.zero + plan.m, kInt8MaxRows, 0);
}

// Panels from `panel` on that use the same table.
int64_t same_table(const CodebookView& v, const Int8Layout& l, int64_t panel) {
  if (!v.group_rows || l.form == 8) return l.panels - panel;
  return std::min(l.panels, (panel * kPanel / v.group_rows + 1) * (v.group_rows / kPanel)) - panel;
}

// Rows [row0, row1) of x times `count` panels from `panel` on, which t.w describes.
void run_tiles(const Int8MatmulPlan& plan, const Int8MatmulArgs& args, const Rows& rows, Int8Tile t,
               int64_t panel, int64_t count, int64_t row0, int64_t row1, float* out) {
  const CodebookView& v = plan.view;
  const int form = form_index(t.form);
  const uint8_t* first = t.w.panels;
  const char* meta = t.w.meta;
  for (int64_t row = row0; row < row1; row += t.rows) {
    t.rows = static_cast<int32_t>(std::min(row1 - row, plan.tile_rows));
    const int kind = rows_index(t.rows);
    t.x = rows.x + row * static_cast<int64_t>(plan.row_bytes);
    t.x_rs = static_cast<int64_t>(plan.row_bytes);
    t.x_scale = rows.scale + row;
    t.x_zero = rows.zero + row;
    for (int64_t p = 0; p < count; p += t.vectors) {
      const int most = plan.sums ? kMostVectors : plan.kernels->vectors[kind];
      const bool wide = most > 1 && count - p >= most;
      t.vectors = wide ? most : 1;
      t.w.panels = first + p * t.w.panel_stride;
      t.w.meta = meta + p * t.w.meta_stride;
      const int64_t col0 = (panel + p) * kPanel;
      const int64_t cols = std::min(v.rows - col0, t.vectors * kPanel);
      t.tail = static_cast<int32_t>(cols - (t.vectors - 1) * kPanel);
      t.y = plan.epilogue ? out : args.y + row * args.ldy + col0;
      t.ldy = plan.epilogue ? t.vectors * kPanel : args.ldy;
      t.tables = rows.tables + row * table_bytes(plan);
      t.x_total = rows.total[row];
      (plan.sums ? plan.kernels->sums_tile[wide] : plan.kernels->tile[form][kind][wide])(t);
      if (plan.epilogue) args.epilogue(args.epilogue_context, row, t.rows, col0, cols, out, t.ldy);
    }
  }
}

// Panels [begin, end) for rows [row0, row1) of x.
void run_panels(const Int8MatmulPlan& plan, const Int8MatmulArgs& args, const Rows& rows,
                int64_t begin, int64_t end, int64_t row0, int64_t row1, char* scratch) {
  const CodebookView& v = plan.view;
  const Int8Layout l = layout_of_int8(v);
  const auto* base = static_cast<const char*>(args.packed);
  auto* tile = reinterpret_cast<float*>(scratch);
  auto* decoded = reinterpret_cast<int8_t*>(scratch + plan.tile_bytes);
  for (int64_t panel = begin, count; panel < end; panel += count) {
    count = std::min(end - panel, same_table(v, l, panel));
    Int8Tile t{};
    t.steps = l.steps;
    t.block_steps = l.block_steps;
    t.form = l.form;
    t.w.panels = reinterpret_cast<const uint8_t*>(base + l.steps_at) + panel * l.panel_stride;
    t.w.panel_stride = l.panel_stride;
    t.w.table = reinterpret_cast<const int8_t*>(
        base + 64 * (v.group_rows ? panel * kPanel / v.group_rows : 0));
    t.w.meta_stride = l.blocks * kInt8MetaBytes;
    t.w.meta = base + l.meta_at + panel * t.w.meta_stride;
    if (!plan.registers && l.form != 8) {
      for (int64_t p = 0; p < count; ++p)
        plan.kernels->expand[form_index(l.form)]({t.w.panels + p * l.panel_stride, t.w.table,
                                                  l.steps, decoded + p * l.steps * 512, l.form});
      t.form = 8;
      t.w.panels = reinterpret_cast<const uint8_t*>(decoded);
      t.w.panel_stride = l.steps * 512;
    }
    run_tiles(plan, args, rows, t, panel, count, row0, row1, tile);
  }
}

}  // namespace

const Int8Kernels& int8_kernels(CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx2 | kAvx512 | kVnni | kVbmi)) return tessera_int8_avx512vnnivbmi;
  if (features.includes(kAvx2 | kAvx512 | kVnni)) return tessera_int8_avx512vnni;
  if (features.includes(kAvx2 | kAvxVnni)) return tessera_int8_avxvnni;
  if (features.includes(kAvx2)) return tessera_int8_avx2;
#endif
  (void)features;
  return tessera_int8_ref;
}

Int8MatmulPlan prepare_int8_matmul(int64_t m, const CodebookView& view, bool epilogue,
                                   CpuFeatures features, int threads) {
  TESSERA_ASSERT(int8_fits(view));
  const Int8Layout l = layout_of_int8(view);
  Int8MatmulPlan plan{};
  plan.m = m;
  plan.view = view;
  plan.kernels = &int8_kernels(features);
  plan.epilogue = epilogue;
  plan.registers = m <= kRegisterRows;
  plan.sums = plan.kernels->subsets != nullptr && l.form == 1 && l.blocks == 1 && m <= kSumRows &&
              l.panels >= kSumPanels;
  plan.tile_rows = plan.sums ? 1 : plan.registers ? kRegisterRows : kInt8MaxRows;
  plan.vectors =
      plan.kernels->vectors[rows_index(std::min(std::max<int64_t>(m, 1), plan.tile_rows))];
  const int64_t items = ceil_div(l.panels, plan.vectors) * ceil_div(m, kRowBlock);
  const double work =
      static_cast<double>(m + 2) * static_cast<double>(view.rows) * static_cast<double>(view.cols);
  plan.threads = static_cast<int>(std::clamp<double>(work / kThreadWork, 1, threads));
  plan.threads = static_cast<int>(std::clamp<int64_t>(items, 1, plan.threads));
  plan.row_bytes = static_cast<size_t>(l.steps * kInt8Step);
  const auto rows = static_cast<size_t>(m + kInt8MaxRows);
  plan.rows_at = align64(rows * plan.row_bytes);
  plan.tables_at = plan.rows_at + align64(rows * (sizeof(float) + 2 * sizeof(int32_t)));
  plan.threads_at =
      plan.tables_at + (plan.sums ? align64(static_cast<size_t>(m * table_bytes(plan))) : 0);
  const auto vectors = static_cast<size_t>(plan.vectors);
  plan.tile_bytes = epilogue ? sizeof(float) * kInt8MaxRows * kPanel * kMostVectors : 0;
  const bool decodes = !plan.registers && l.form != 8;
  plan.thread_scratch =
      plan.tile_bytes + (decodes ? vectors * static_cast<size_t>(l.steps) * 512 : 0);
  plan.scratch_bytes = plan.threads_at + plan.thread_scratch * static_cast<size_t>(plan.threads);
  return plan;
}

void run_int8_matmul(const Int8MatmulPlan& plan, const Int8MatmulArgs& args, void* scratch) {
  const CodebookView& v = plan.view;
  if (plan.m == 0 || v.rows == 0) return;
  auto* memory = static_cast<char*>(scratch);
  const Rows rows = rows_at(plan, memory);
  quantize_rows(plan, args, rows);
  const int64_t panels = ceil_div(v.rows, kPanel), groups = ceil_div(panels, plan.vectors);
  const int64_t items = groups * ceil_div(plan.m, kRowBlock);
  parallel_parts(plan.threads, [&](int64_t part) {
    char* own = memory + plan.threads_at + plan.thread_scratch * static_cast<size_t>(part);
    for (int64_t i = items * part / plan.threads; i < items * (part + 1) / plan.threads; ++i) {
      const int64_t panel = i % groups * plan.vectors, row = i / groups * kRowBlock;
      run_panels(plan, args, rows, panel, std::min(panels, panel + plan.vectors), row,
                 std::min(plan.m, row + kRowBlock), own);
    }
  });
}

}  // namespace tessera
