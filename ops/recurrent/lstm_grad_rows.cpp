// Rows of lstm_scan_grad. Steps from the last to the first: the product of a later step's
// gradients with R, in register tiles that become this step's gradients before they leave the
// cache. R is packed once a call, decoded before where it is codebook storage.
#include <algorithm>
#include <cstring>
#include <memory>

#include "core/parallel.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/node_view.h"
#include "ops/matmul/gemm.h"
#include "ops/recurrent/lstm_rows.h"
#include "ops/recurrent/scan.h"

namespace tessera {

namespace {

constexpr std::int64_t kGates = 4;
enum Operand { kR, kC0, kC, kGateValues, kDh, kDLastH, kDLastC, kMask, kGain, kNormalized, kRstd };

class ScanGrad {
 public:
  ScanGrad(const KernelQuery& query, CpuFeatures features)
      : size_(query.node.input(kGateValues).shape(), has(query.node, kGain),
              has(query.node, kRstd)),
        states_(query.node.attrs().boolean("states")),
        coded_(!query.node.input(kR).type().encoding.is_dense()),
        features_(features),
        kernels_(&lstm_kernels(features)) {
    const std::int64_t h = size_.h;
    if (coded_) {
      view_ = view_of(query.node.input(kR).type());
      decoded_ = scratch_.add(kGates * h * h);
    }
    panels_ = scratch_.add_bytes(panel_bytes(h, kGates * h));
    dc_ = scratch_.add(size_.batch * h);
    gemm_ = prepare_gemm(
        {.m = size_.batch, .n = h, .k = kGates * h, .b = GemmB::kPanels, .epilogue = true},
        features, query.threads);
    work_ = scratch_.add_bytes(gemm_.scratch_bytes);
  }

  std::int64_t scratch_bytes() const { return scratch_.bytes(); }
  double flops() const { return size_.flops(); }

  void run(const KernelArgs& args) const {
    const std::int64_t h = size_.h, state = size_.batch * h;
    const float* r = args.in(kR).as<const float>();
    if (coded_) {
      float* decoded = scratch_.at(args, decoded_);
      decode_rows(bind_view(view_, args.in(kR)), 0, kGates * h, decoded, h, features_);
      r = decoded;
    }
    pack_panels(features_, GemmB::kRows, h, kGates * h, r, h, scratch_.at(args, panels_));
    float* dc = scratch_.at(args, dc_);
    const auto bytes = static_cast<std::size_t>(state) * sizeof(float);
    if (const float* last = operand(args, kDLastC)) {
      std::memcpy(dc, last, bytes);
    } else {
      std::memset(dc, 0, bytes);
    }
    // Without samples one step tells as much as all.
    Run run{*this, args, size_.batch > 0 ? size_.steps - 1 : 0};
    last_step(run);
    while (run.step > 0) {
      --run.step;
      multiply(run, [](void* context, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                       std::int64_t cols, float* tile, std::int64_t ld) {
        const Run& run = *static_cast<const Run*>(context);
        LstmStepGrad s = run.scan.step_at(run, row0, rows, col0, cols);
        s.product = tile;
        s.product_ld = ld;
        if (const float* mask = operand(run.args, kMask))
          s.mask = mask + row0 * run.scan.size_.h + col0;
        run.scan.kernels_->step_grad(s);
      });
      finish_product(run);
    }
    if (!states_) return;
    run.step = -1;
    multiply(run, [](void* context, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                     std::int64_t cols, float* tile, std::int64_t ld) {
      const Run& run = *static_cast<const Run*>(context);
      const std::int64_t h = run.scan.size_.h;
      const float* mask = operand(run.args, kMask);
      float* out = run.args.out(run.scan.size_.gain ? 2 : 1).as<float>();
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < cols; ++j) {
          const std::int64_t at = (row0 + i) * h + col0 + j;
          out[at] = tile[i * ld + j] * (mask ? mask[at] : 1.0f);
        }
      }
    });
    std::memcpy(args.out(size_.gain ? 3 : 2).plane[0], dc, bytes);
  }

 private:
  struct Run {
    const ScanGrad& scan;
    const KernelArgs& args;
    std::int64_t step;
  };

  // What multiplies R: f32[batch, 4h] of a step.
  float* dp(const Run& run, std::int64_t step) const {
    return run.args.out(size_.gain ? 1 : 0).as<float>() + step * size_.batch * kGates * size_.h;
  }

  LstmStepGrad step_at(const Run& run, std::int64_t row, std::int64_t rows, std::int64_t unit,
                       std::int64_t units) const {
    const std::int64_t h = size_.h, state = row * h + unit;
    const std::int64_t at = run.step * size_.batch * h + state;
    const std::int64_t wide = (run.step * size_.batch + row) * kGates * h + unit;
    LstmStepGrad s{};
    s.rows = rows;
    s.units = units;
    if (const float* dh = operand(run.args, kDh)) s.dh = dh + at;
    s.gates = run.args.in(kGateValues).as<const float>() + wide;
    s.gate = h;
    s.c = run.args.in(kC).as<const float>() + at;
    s.c_before = run.step == 0 ? run.args.in(kC0).as<const float>() + state : s.c - size_.batch * h;
    s.dc = scratch_.at(run.args, dc_) + state;
    s.dx = run.args.out().as<float>() + wide;
    return s;
  }

  void last_step(const Run& run) const {
    parallel_for(size_.batch, 1 + kScanGrain / (kGates * size_.h),
                 [&](std::int64_t begin, std::int64_t end) {
                   LstmStepGrad s = step_at(run, begin, end - begin, 0, size_.h);
                   if (const float* last = operand(run.args, kDLastH))
                     s.product = last + begin * size_.h;
                   s.product_ld = size_.h;
                   kernels_->step_grad(s);
                 });
    finish_product(run);
  }

  void multiply(const Run& run, GemmEpilogue epilogue) const {
    GemmArgs g;
    g.a = dp(run, run.step + 1);
    g.a_rs = kGates * size_.h;
    g.b = scratch_.at(run.args, panels_);
    g.epilogue = epilogue;
    g.epilogue_context = const_cast<Run*>(&run);
    run_gemm(gemm_, g, scratch_.at(run.args, work_));
  }

  // Through gain and normalization, which look at whole rows.
  void finish_product(const Run& run) const {
    if (!size_.gain) return;
    const std::int64_t wide = kGates * size_.h, first = run.step * size_.batch;
    parallel_for(size_.batch, 1 + kScanGrain / wide, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = first + begin; row < first + end; ++row) {
        const float* rstd = operand(run.args, kRstd);
        kernels_->gain_grad({wide, run.args.out().as<float>() + row * wide,
                             operand(run.args, kGain), operand(run.args, kNormalized) + row * wide,
                             rstd ? rstd + row : nullptr,
                             run.args.out(1).as<float>() + row * wide});
      }
    });
  }

  ScanSize size_;
  bool states_, coded_;
  CpuFeatures features_;
  const LstmKernels* kernels_;
  CodebookView view_;
  ScanScratch scratch_;
  std::int64_t decoded_ = 0, panels_ = 0, dc_ = 0, work_ = 0;
  GemmPlan gemm_;
};

std::string refuses_packed(const KernelQuery& query) {
  return query.node.input(kR).type().encoding.packed_layout().empty() ? "" : "R is packed";
}

template <std::uint32_t kBits>
KernelPlan prepare(const KernelQuery& query) {
  constexpr CpuFeatures features{kBits};
  const auto scan = std::make_shared<const ScanGrad>(query, features);
  KernelPlan out;
  out.run = [scan](const KernelArgs& args) { scan->run(args); };
  out.scratch_bytes = scan->scratch_bytes();
  out.flops = scan->flops();
  return out;
}

constexpr std::uint32_t kBits2 = kAvx2.bits;
constexpr std::uint32_t kBits512 = kBits2 | kAvx512.bits;
constexpr std::uint32_t kBitsVbmi = kBits512 | kVbmi.bits;

constexpr KernelRow kRows[] = {
    {"lstm_scan_grad_avx512vbmi", {kBitsVbmi}, refuses_packed, prepare<kBitsVbmi>},
    {"lstm_scan_grad_avx512", {kBits512}, refuses_packed, prepare<kBits512>},
    {"lstm_scan_grad_avx2", kAvx2, refuses_packed, prepare<kBits2>},
    {"lstm_scan_grad_plain", kScalar, refuses_packed, prepare<0>},
};

}  // namespace

const LstmKernels& lstm_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx2 | kAvx512)) return tessera_lstm_avx512;
  if (features.includes(kAvx2)) return tessera_lstm_avx2;
#endif
  return tessera_lstm_ref;
}

std::span<const KernelRow> lstm_scan_grad_rows() {
  return kRows;
}

}  // namespace tessera
