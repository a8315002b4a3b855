// Rows of lstm_scan. A dense R lies in panels of sixteen units with their four gates side by side,
// so that the product of a register tile becomes gates and states before it leaves the cache: as
// stored once for all runs where it is fixed, else packed once a call, after decoding where it is
// codebook storage. A fixed codebook R is multiplied as stored, as matmul does, also in integers
// (then each state before its product is rounded to bytes), and the states are
// made of the whole product of a step; so are those of normalized products, which need all of it.
#include "ops/recurrent/lstm_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/parallel.h"
#include "ops/codebook/byte_panels.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/int8_matmul.h"
#include "ops/codebook/node_view.h"
#include "ops/matmul/gemm.h"
#include "ops/recurrent/scan.h"

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kGemmLanes, kGates = 4;
enum Operand { kX, kR, kH0, kC0, kMask, kGain };
enum Result { kH, kLastH, kLastC, kC, kGateValues, kNormalized, kRstd };

// How R lies when a run begins.
enum class Kept { matrix, panels, live, planes, packed, bytes, int8 };

std::int64_t blocks_of(std::int64_t h) {
  return (h + kLanes - 1) / kLanes;
}

// Panel 4 b + g of R[4h, h]: units [16 b, 16 b + 16) of gate g.
void pack_gates(CpuFeatures features, std::int64_t h, const float* r, float* panels) {
  const GemmKernels& kernels = gemm_kernels(features);
  const std::int64_t grain = 1 + 65536 / (kLanes * h);
  parallel_for(blocks_of(h) * kGates, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t v = begin; v < end; ++v) {
      const std::int64_t unit = v / kGates * kLanes, row = v % kGates * h + unit;
      kernels.pack_transpose(
          {r + row * h, h, std::min(kLanes, h - unit), h, panels + v * kLanes * h, kLanes, kLanes});
    }
  });
}

class Scan {
 public:
  Scan(const KernelQuery& query, CpuFeatures features, Kept kept)
      : size_(query.node.input(kX).shape(), has(query.node, kGain),
              query.node.attrs().boolean("norm")),
        kept_(kept),
        fused_(kept <= Kept::live && !size_.gain),
        features_(features),
        kernels_(&lstm_kernels(features)),
        epsilon_(static_cast<float>(query.node.attrs().real("epsilon"))) {
    const std::int64_t h = size_.h, b = size_.batch;
    if (kept_ >= Kept::live) view_ = view_of(query.node.input(kR).type());
    if (kept_ == Kept::live) decoded_ = scratch_.add(kGates * h * h);
    if (kept_ == Kept::matrix || kept_ == Kept::live) panels_ = scratch_.add(panel_floats());
    if (!fused_) product_ = scratch_.add(b * kGates * h);
    if (has(query.node, kMask)) masked_ = scratch_.add(b * h);
    if (kept_ <= Kept::live) {
      const std::int64_t n = fused_ ? blocks_of(h) * kLanes * kGates : kGates * h;
      const GemmProblem problem{.m = b,
                                .n = n,
                                .k = h,
                                .b = GemmB::kPanels,
                                .epilogue = fused_,
                                .vectors = fused_ ? static_cast<int>(kGates) : 0};
      gemm_ = prepare_gemm(problem, features, query.threads);
      work_ = scratch_.add_bytes(gemm_.scratch_bytes);
    } else if (kept_ == Kept::int8) {
      int8_ = prepare_int8_matmul(b, view_, /*epilogue=*/false, features, query.threads);
      work_ = scratch_.add_bytes(int8_.scratch_bytes);
    } else {
      const CodebookMatmulProblem problem{
          .m = b, .view = view_, .packed = kept_ == Kept::packed, .bytes = kept_ == Kept::bytes};
      product_plan_ = prepare_codebook_matmul(problem, features, query.threads);
      work_ = scratch_.add_bytes(product_plan_.scratch_bytes);
    }
  }

  bool fused() const { return fused_; }
  const char* note() const {
    return kept_ <= Kept::live ? "panels" : kept_ == Kept::int8 ? "int8" : product_plan_.method;
  }
  std::int64_t scratch_bytes() const { return scratch_.bytes(); }
  double flops() const { return size_.flops(); }
  std::int64_t packed_bytes() const { return 4 * panel_floats(); }

  void pack(const float* r, float* panels) const {
    if (fused_) {
      pack_gates(features_, size_.h, r, panels);
    } else {
      pack_panels(features_, GemmB::kColumns, kGates * size_.h, size_.h, r, size_.h, panels);
    }
  }

  void run(const KernelArgs& args) const {
    Run run{*this, args, nullptr, 0};
    if (kept_ == Kept::panels) run.panels = args.in(kR).as<const float>();
    if (kept_ == Kept::matrix || kept_ == Kept::live) {
      const float* r = args.in(kR).as<const float>();
      if (kept_ == Kept::live) {
        float* decoded = scratch_.at(args, decoded_);
        decode_rows(bind_view(view_, args.in(kR)), 0, kGates * size_.h, decoded, size_.h,
                    features_);
        r = decoded;
      }
      float* panels = scratch_.at(args, panels_);
      pack(r, panels);
      run.panels = panels;
    }
    const std::int64_t steps =
        size_.batch > 0 ? size_.steps : 0;  // a file may have 2^31 of nothing
    for (; run.step < steps; ++run.step) {
      const float* hidden = before_product(run);
      if (fused_) {
        multiply_fused(run, hidden);
      } else {
        multiply(run, hidden);
        finish(run);
      }
    }
    const std::size_t bytes = static_cast<std::size_t>(size_.batch * size_.h) * sizeof(float);
    const std::int64_t last = (size_.steps - 1) * size_.batch * size_.h;
    std::memcpy(args.out(kLastH).plane[0], args.out(kH).as<float>() + last, bytes);
    std::memcpy(args.out(kLastC).plane[0], args.out(kC).as<float>() + last, bytes);
  }

 private:
  struct Run {
    const Scan& scan;
    const KernelArgs& args;
    const float* panels;
    std::int64_t step;
  };

  std::int64_t panel_floats() const {
    const std::int64_t columns =
        fused_ ? blocks_of(size_.h) * kLanes * kGates : (kGates * size_.h + 15) / 16 * 16;
    return columns * size_.h;
  }

  // The state before a step, f32[batch, h], of the sequence `all` that began with `first`.
  const float* before(const Run& run, Operand first, Result all) const {
    if (run.step == 0) return run.args.in(first).as<const float>();
    return run.args.out(all).as<const float>() + (run.step - 1) * size_.batch * size_.h;
  }

  const float* before_product(const Run& run) const {
    const float* hidden = before(run, kH0, kH);
    const float* mask = operand(run.args, kMask);
    if (!mask) return hidden;
    float* masked = scratch_.at(run.args, masked_);
    for (std::int64_t i = 0; i < size_.batch * size_.h; ++i) masked[i] = hidden[i] * mask[i];
    return masked;
  }

  // Of rows from `row` and units from `unit`, with their product.
  LstmStep step_at(const Run& run, std::int64_t row, std::int64_t unit) const {
    const std::int64_t h = size_.h, at = (run.step * size_.batch + row) * h + unit;
    const std::int64_t wide = (run.step * size_.batch + row) * kGates * h + unit;
    LstmStep s{};
    s.x = run.args.in(kX).as<const float>() + wide;
    s.gates = run.args.out(kGateValues).as<float>() + wide;
    s.gate = h;
    s.c_before = before(run, kC0, kC) + row * h + unit;
    s.c = run.args.out(kC).as<float>() + at;
    s.h = run.args.out(kH).as<float>() + at;
    return s;
  }

  void multiply_fused(const Run& run, const float* hidden) const {
    GemmArgs g;
    g.a = hidden;
    g.a_rs = size_.h;
    g.b = run.panels;
    g.epilogue_context = const_cast<Run*>(&run);
    g.epilogue = [](void* context, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                    std::int64_t, float* tile, std::int64_t ld) {
      const Run& run = *static_cast<const Run*>(context);
      const std::int64_t unit = col0 / kGates;
      LstmStep s = run.scan.step_at(run, row0, unit);
      s.rows = rows;
      s.units = std::min(kLanes, run.scan.size_.h - unit);
      s.product = tile;
      s.product_ld = ld;
      s.product_gate = kLanes;
      run.scan.kernels_->step(s);
    };
    run_gemm(gemm_, g, scratch_.at(run.args, work_));
  }

  void multiply(const Run& run, const float* hidden) const {
    float* product = scratch_.at(run.args, product_);
    if (kept_ <= Kept::live) {
      GemmArgs g;
      g.a = hidden;
      g.a_rs = size_.h;
      g.b = run.panels;
      g.c = product;
      g.ldc = kGates * size_.h;
      run_gemm(gemm_, g, scratch_.at(run.args, work_));
      return;
    }
    if (kept_ == Kept::int8) {
      Int8MatmulArgs c;
      c.x = hidden;
      c.x_rs = size_.h;
      c.packed = run.args.in(kR).plane[0];
      c.y = product;
      c.ldy = kGates * size_.h;
      run_int8_matmul(int8_, c, scratch_.at(run.args, work_));
      return;
    }
    CodebookMatmulArgs c;
    c.x = hidden;
    c.x_rs = size_.h;
    if (kept_ == Kept::planes) {
      c.view = bind_view(view_, run.args.in(kR));
    } else {
      c.packed = run.args.in(kR).plane[0];
    }
    c.y = product;
    c.ldy = kGates * size_.h;
    run_codebook_matmul(product_plan_, c, scratch_.at(run.args, work_));
  }

  void finish(const Run& run) const {
    const std::int64_t wide = kGates * size_.h;
    parallel_for(size_.batch, 1 + kScanGrain / wide, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        float* product = scratch_.at(run.args, product_) + row * wide;
        const std::int64_t at = run.step * size_.batch + row;
        if (size_.gain) {
          kernels_->gain({wide, product, operand(run.args, kGain),
                          run.args.out(kNormalized).as<float>() + at * wide,
                          size_.norm ? run.args.out(kRstd).as<float>() + at : nullptr, epsilon_});
        }
        LstmStep s = step_at(run, row, 0);
        s.rows = 1;
        s.units = size_.h;
        s.product = product;
        s.product_gate = size_.h;
        kernels_->step(s);
      }
    });
  }

  ScanSize size_;
  Kept kept_;
  bool fused_;
  CpuFeatures features_;
  const LstmKernels* kernels_;
  float epsilon_;
  CodebookView view_;
  ScanScratch scratch_;
  std::int64_t decoded_ = 0, panels_ = 0, product_ = 0, masked_ = 0, work_ = 0;
  GemmPlan gemm_;
  CodebookMatmulPlan product_plan_;
  Int8MatmulPlan int8_{};
};

std::string refuses_dense(const KernelQuery& query) {
  return query.node.input(kR).type().encoding.is_dense() ? "" : "R is codebook storage";
}
std::string refuses_codebook(const KernelQuery& query) {
  return query.node.input(kR).type().encoding.is_dense() ? "R is dense" : "";
}
std::string refuses_packed(const KernelQuery& query) {
  if (auto reason = refuses_codebook(query); !reason.empty()) return reason;
  if (!query.is_fixed(kR)) return "R changes between steps";
  const CodebookView view = view_of(query.node.input(kR).type());
  const std::int64_t batch = query.node.input(kX).shape()[1].value();
  if (batch > packed_rows(view)) return cat("batch ", batch, " is over ", packed_rows(view));
  const char* reason = nullptr;
  return packable(view, &reason) ? "" : reason;
}
std::string refuses_bytes(const KernelQuery& query) {
  if (auto reason = refuses_codebook(query); !reason.empty()) return reason;
  if (!query.is_fixed(kR)) return "R changes between steps";
  return byte_panels_fit(view_of(query.node.input(kR).type()), query.features)
             ? ""
             : "few bits, or groups of few rows";
}

std::string refuses_int8(const KernelQuery& query) {
  if (!query.int8) return "computes in f32";
  if (auto reason = refuses_codebook(query); !reason.empty()) return reason;
  if (!query.is_fixed(kR)) return "R changes between steps";
  const char* reason = nullptr;
  return int8_fits(view_of(query.node.input(kR).type()), &reason) ? "" : reason;
}

enum class Row { dense, codebook, packed, bytes, int8 };

template <std::uint32_t kBits, Row kRow>
KernelPlan prepare(const KernelQuery& query) {
  constexpr CpuFeatures features{kBits};
  const bool fixed = query.is_fixed(kR);
  const Kept kept = kRow == Row::packed  ? Kept::packed
                    : kRow == Row::bytes ? Kept::bytes
                    : kRow == Row::int8  ? Kept::int8
                    : kRow == Row::dense ? (fixed ? Kept::panels : Kept::matrix)
                                         : (fixed ? Kept::planes : Kept::live);
  const auto scan = std::make_shared<const Scan>(query, features, kept);
  KernelPlan out;
  out.run = [scan](const KernelArgs& args) { scan->run(args); };
  out.scratch_bytes = scan->scratch_bytes();
  out.flops = scan->flops();
  out.note = scan->note();
  const Value r = query.node.input(kR);
  if (kept == Kept::packed) out.packs = {std::nullopt, pack_codebook(r, features)};
  if (kept == Kept::bytes) out.packs = {std::nullopt, pack_bytes(r)};
  if (kept == Kept::int8) out.packs = {std::nullopt, pack_int8(r)};
  if (kept == Kept::panels) {
    const bool gates = scan->fused();
    out.packs = {std::nullopt,
                 OperandPack{Encoding::packed(gates ? "panels_gates" : "panels_t",
                                              scan->packed_bytes(), r.type().encoding),
                             [scan](const KernelArgs& args) {
                               scan->pack(args.in(0).as<const float>(), args.out().as<float>());
                             },
                             0}};
  }
  return out;
}

constexpr std::uint32_t kBits2 = kAvx2.bits;
constexpr std::uint32_t kBits512 = kBits2 | kAvx512.bits;
constexpr std::uint32_t kBitsVbmi = kBits512 | kVbmi.bits;

constexpr std::uint32_t kBitsAvxVnni = kBits2 | kAvxVnni.bits;
constexpr std::uint32_t kBitsVnni = kBits512 | kVnni.bits;
constexpr std::uint32_t kBitsVnniVbmi = kBitsVnni | kVbmi.bits;

constexpr KernelRow kRows[] = {
    {"lstm_scan_s8_cb_avx512vnnivbmi",
     {kBitsVnniVbmi},
     refuses_int8,
     prepare<kBitsVnniVbmi, Row::int8>},
    {"lstm_scan_s8_cb_avx512vnni", {kBitsVnni}, refuses_int8, prepare<kBitsVnni, Row::int8>},
    {"lstm_scan_s8_cb_avxvnni", {kBitsAvxVnni}, refuses_int8, prepare<kBitsAvxVnni, Row::int8>},
    {"lstm_scan_s8_cb_avx2", kAvx2, refuses_int8, prepare<kBits2, Row::int8>},
    {"lstm_scan_s8_cb_ref", kScalar, refuses_int8, prepare<0, Row::int8>},
    {"lstm_scan_cb_packed_avx512", {kBits512}, refuses_packed, prepare<kBits512, Row::packed>},
    {"lstm_scan_cb_bytes_avx512vbmi", {kBitsVbmi}, refuses_bytes, prepare<kBitsVbmi, Row::bytes>},
    {"lstm_scan_cb_avx512vbmi", {kBitsVbmi}, refuses_codebook, prepare<kBitsVbmi, Row::codebook>},
    {"lstm_scan_cb_avx512", {kBits512}, refuses_codebook, prepare<kBits512, Row::codebook>},
    {"lstm_scan_cb_avx2", kAvx2, refuses_codebook, prepare<kBits2, Row::codebook>},
    {"lstm_scan_cb_plain", kScalar, refuses_codebook, prepare<0, Row::codebook>},
    {"lstm_scan_avx512", {kBits512}, refuses_dense, prepare<kBits512, Row::dense>},
    {"lstm_scan_avx2", kAvx2, refuses_dense, prepare<kBits2, Row::dense>},
    {"lstm_scan_plain", kScalar, refuses_dense, prepare<0, Row::dense>},
};

}  // namespace

std::span<const KernelRow> lstm_scan_rows() {
  return kRows;
}

}  // namespace tessera
