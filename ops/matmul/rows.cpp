#include "ops/matmul/rows.h"

#include <memory>

#include "core/program.h"
#include "ops/codebook/byte_panels.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/int8_matmul.h"
#include "ops/codebook/node_view.h"
#include "ops/elementwise/program_runner.h"
#include "ops/matmul/gemm.h"

namespace tessera {

namespace {

struct Dims {
  bool ta, tb;
  std::int64_t m, n, k;
};

Dims dims_of(const Node& node) {
  const Shape& a = node.input(0).shape();
  const Shape& b = node.input(1).shape();
  Dims d{node.attrs().boolean("transpose_a"), node.attrs().boolean("transpose_b"), 0, 0, 0};
  d.m = a[d.ta ? 1 : 0].value();
  d.k = a[d.ta ? 0 : 1].value();
  d.n = b[d.tb ? 0 : 1].value();
  return d;
}

// The program a matmul carries, ready to run on finished tiles.
class Epilogue {
 public:
  Epilogue(const Node& node, const Dims& d, CpuFeatures features)
      : n_(d.n),
        runner_(parse_program(node.graph().ops(), node.attrs().string("epilogue")),
                kinds_of(node, d), features) {}

  // What the GEMM's callback gets; lives on the stack of one run.
  struct Call {
    const Epilogue* epilogue;
    ProgramInput inputs[kMaxProgramOperands];
    ProgramOutput outputs[kMaxProgramOperands];
  };

  Call bind(const KernelArgs& args) const {
    Call call{this, {}, {}};
    for (std::size_t i = 2; i < args.inputs.size(); ++i) {
      const std::int64_t ld = runner_.kinds()[i - 1] == OperandKind::full ? n_ : 1;
      call.inputs[i - 1] = {args.inputs[i].as<float>(), ld};
    }
    for (std::size_t o = 0; o < args.outputs.size(); ++o)
      call.outputs[o] = {args.outputs[o].as<float>(), n_};
    return call;
  }

  static void run(void* context, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                  std::int64_t cols, float* tile, std::int64_t ld) {
    const Call& call = *static_cast<const Call*>(context);
    ProgramInput inputs[kMaxProgramOperands];
    std::copy(std::begin(call.inputs), std::end(call.inputs), inputs);
    inputs[0] = {tile, ld};
    call.epilogue->runner_.run_at(row0, col0, rows, cols, inputs, call.outputs, true);
  }

  // A tile's rows are short pieces far apart, which the hardware does not see coming: ask for them
  // while the products are summed.
  static void prefetch(void* context, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                       std::int64_t cols, float*, std::int64_t) {
    constexpr std::int64_t kLine = 16;  // floats
    const Call& call = *static_cast<const Call*>(context);
    const auto& kinds = call.epilogue->runner_.kinds();
    for (std::size_t i = 1; i < kinds.size(); ++i) {
      if (kinds[i] != OperandKind::full) continue;
      const ProgramInput& in = call.inputs[i];
      for (std::int64_t r = row0; r < row0 + rows; ++r) {
        const float* row = in.data + r * in.ld + col0;
        for (std::int64_t c = 0; c < cols + kLine - 1; c += kLine) {
          __builtin_prefetch(row + std::min(c, cols - 1), 1, 2);
        }
      }
    }
  }

 private:
  static std::vector<OperandKind> kinds_of(const Node& node, const Dims& d) {
    std::vector<OperandKind> kinds = {OperandKind::full};
    for (std::size_t i = 2; i < node.inputs().size(); ++i) {
      const Shape& s = node.inputs()[i].shape();
      const std::int64_t cols = s.rank() >= 1 ? s[-1].value() : 1;
      const std::int64_t rows = s.rank() >= 2 ? s[-2].value() : 1;
      const bool wide = cols == d.n && d.n != 1, tall = rows == d.m && d.m != 1;
      kinds.push_back(wide && tall ? OperandKind::full
                      : wide       ? OperandKind::row
                      : tall       ? OperandKind::column
                                   : OperandKind::scalar);
    }
    return kinds;
  }

  std::int64_t n_;
  ProgramRunner runner_;
};

std::unique_ptr<Epilogue> epilogue_of(const Node& node, const Dims& d, CpuFeatures features) {
  if (node.attrs().string("epilogue").empty()) return nullptr;
  return std::make_unique<Epilogue>(node, d, features);
}

double flops_of(const Dims& d) {
  return 2.0 * static_cast<double>(d.m) * static_cast<double>(d.n) * static_cast<double>(d.k);
}

// ---- dense ----

std::string refuses_dense(const KernelQuery& query) {
  if (!query.node.input(1).type().encoding.is_dense()) return "b is codebook storage";
  return {};
}

template <std::uint32_t kBits>
KernelPlan prepare_dense(const KernelQuery& query) {
  constexpr CpuFeatures features{kBits};
  struct State {
    Dims d;
    GemmPlan plan;
    std::unique_ptr<Epilogue> epilogue;
  };
  auto state = std::make_shared<State>();
  state->d = dims_of(query.node);
  const Dims& d = state->d;
  state->epilogue = epilogue_of(query.node, d, features);
  const bool panels = query.is_fixed(1);
  const GemmB stored = d.tb ? GemmB::kColumns : GemmB::kRows;
  const GemmProblem problem{.m = d.m,
                            .n = d.n,
                            .k = d.k,
                            .b = panels ? GemmB::kPanels : stored,
                            .epilogue = state->epilogue != nullptr,
                            .transposed_a = d.ta};
  state->plan = prepare_gemm(problem, features, query.threads);
  KernelPlan out;
  out.run = [state](const KernelArgs& args) {
    const Dims& d = state->d;
    GemmArgs g;
    g.a = args.in(0).as<float>();
    g.a_rs = d.ta ? 1 : d.k;
    g.a_cs = d.ta ? d.m : 1;
    g.b = args.in(1).as<float>();
    g.ldb = d.tb ? d.k : d.n;
    Epilogue::Call call;
    if (state->epilogue) {
      call = state->epilogue->bind(args);
      g.epilogue = Epilogue::run;
      g.before_tile = Epilogue::prefetch;
      g.epilogue_context = &call;
    } else {
      g.c = args.out().as<float>();
      g.ldc = d.n;
    }
    run_gemm(state->plan, g, args.scratch);
  };
  out.scratch_bytes = static_cast<std::int64_t>(state->plan.scratch_bytes);
  out.in_place = true;
  out.flops = flops_of(d);
  if (panels) {
    const auto bytes = static_cast<std::int64_t>(panel_bytes(d.n, d.k));
    const Encoding& from = query.node.input(1).type().encoding;
    out.packs = {std::nullopt,
                 OperandPack{Encoding::packed(d.tb ? "panels_t" : "panels", bytes, from),
                             [d, stored, features](const KernelArgs& args) {
                               pack_panels(features, stored, d.n, d.k, args.in(0).as<float>(),
                                           d.tb ? d.k : d.n, args.out().as<float>());
                             },
                             0}};
  }
  return out;
}

// ---- codebook ----

std::string refuses_codebook(const KernelQuery& query) {
  const Node& node = query.node;
  if (node.input(1).type().encoding.is_dense()) return "b is dense";
  if (node.attrs().boolean("transpose_a")) return "a is transposed";
  return {};
}

std::string refuses_packed(const KernelQuery& query) {
  if (auto reason = refuses_codebook(query); !reason.empty()) return reason;
  const Dims d = dims_of(query.node);
  if (!d.tb) return "the weight is not transposed";
  if (!query.is_fixed(1)) return "the weight changes between steps";
  const CodebookView view = view_of(query.node.input(1));
  if (d.m > packed_rows(view)) return cat("batch ", d.m, " is over ", packed_rows(view));
  const char* reason = nullptr;
  if (!packable(view, &reason)) return reason;
  return {};
}

std::string refuses_bytes(const KernelQuery& query) {
  if (auto reason = refuses_codebook(query); !reason.empty()) return reason;
  if (!dims_of(query.node).tb) return "the weight is not transposed";
  if (!query.is_fixed(1)) return "the weight changes between steps";
  if (!byte_panels_fit(view_of(query.node.input(1)), query.features))
    return "few bits, or groups of few rows";
  return {};
}

enum class Kept { planes, packed, bytes };

template <std::uint32_t kBits, Kept kKept>
KernelPlan prepare_codebook(const KernelQuery& query) {
  constexpr CpuFeatures features{kBits};
  struct State {
    Dims d;
    CodebookView view;
    CodebookMatmulPlan plan;
    std::unique_ptr<Epilogue> epilogue;
  };
  auto state = std::make_shared<State>();
  state->d = dims_of(query.node);
  const Dims& d = state->d;
  state->view = view_of(query.node.input(1));
  state->epilogue = epilogue_of(query.node, d, features);
  const CodebookMatmulProblem problem{.m = d.m,
                                      .view = state->view,
                                      .transposed = !d.tb,
                                      .packed = kKept == Kept::packed,
                                      .epilogue = state->epilogue != nullptr,
                                      .bytes = kKept == Kept::bytes};
  state->plan = prepare_codebook_matmul(problem, features, query.threads);
  KernelPlan out;
  out.run = [state](const KernelArgs& args) {
    CodebookMatmulArgs c;
    c.x = args.in(0).as<float>();
    c.x_rs = state->d.k;
    if (kKept != Kept::planes) {
      c.packed = args.in(1).plane[0];
    } else {
      c.view = bind_view(state->view, args.in(1));
    }
    Epilogue::Call call;
    if (state->epilogue) {
      call = state->epilogue->bind(args);
      c.epilogue = Epilogue::run;
      c.epilogue_context = &call;
    } else {
      c.y = args.out().as<float>();
      c.ldy = state->d.n;
    }
    run_codebook_matmul(state->plan, c, args.scratch);
  };
  out.scratch_bytes = static_cast<std::int64_t>(state->plan.scratch_bytes);
  out.in_place = true;
  out.flops = flops_of(d);
  out.note = state->plan.method;
  if (kKept == Kept::packed) {
    out.packs = {std::nullopt, pack_codebook(query.node.input(1), features)};
  } else if (kKept == Kept::bytes) {
    out.packs = {std::nullopt, pack_bytes(query.node.input(1))};
  }
  return out;
}

// ---- codebook, in integers ----

std::string refuses_int8(const KernelQuery& query) {
  if (!query.int8) return "computes in f32";
  if (auto reason = refuses_codebook(query); !reason.empty()) return reason;
  if (!dims_of(query.node).tb) return "the weight is not transposed";
  if (!query.is_fixed(1)) return "the weight changes between steps";
  const char* reason = nullptr;
  return int8_fits(view_of(query.node.input(1)), &reason) ? "" : reason;
}

template <std::uint32_t kBits>
KernelPlan prepare_int8(const KernelQuery& query) {
  constexpr CpuFeatures features{kBits};
  struct State {
    Dims d;
    Int8MatmulPlan plan;
    std::unique_ptr<Epilogue> epilogue;
  };
  auto state = std::make_shared<State>();
  state->d = dims_of(query.node);
  const Value weight = query.node.input(1);
  const CodebookView view = view_of(weight);
  state->epilogue = epilogue_of(query.node, state->d, features);
  state->plan =
      prepare_int8_matmul(state->d.m, view, state->epilogue != nullptr, features, query.threads);
  KernelPlan out;
  out.run = [state](const KernelArgs& args) {
    Int8MatmulArgs c;
    c.x = args.in(0).as<float>();
    c.x_rs = state->d.k;
    c.packed = args.in(1).plane[0];
    Epilogue::Call call;
    if (state->epilogue) {
      call = state->epilogue->bind(args);
      c.epilogue = Epilogue::run;
      c.epilogue_context = &call;
    } else {
      c.y = args.out().as<float>();
      c.ldy = state->d.n;
    }
    run_int8_matmul(state->plan, c, args.scratch);
  };
  out.scratch_bytes = static_cast<std::int64_t>(state->plan.scratch_bytes);
  out.in_place = true;
  out.flops = flops_of(state->d);
  out.note = "int8";
  out.packs = {
      std::nullopt,
      OperandPack{Encoding::packed("cbint8", layout_of_int8(view).bytes, weight.type().encoding),
                  [view](const KernelArgs& args) {
                    pack_int8(bind_view(view, args.in(0)), args.out().plane[0]);
                  }}};
  return out;
}

constexpr std::uint32_t kBits2 = kAvx2.bits;
constexpr std::uint32_t kBits512 = kAvx2.bits | kAvx512.bits;
constexpr std::uint32_t kBitsVbmi = kBits512 | kVbmi.bits;

constexpr std::uint32_t kBitsAvxVnni = kBits2 | kAvxVnni.bits;
constexpr std::uint32_t kBitsVnni = kBits512 | kVnni.bits;
constexpr std::uint32_t kBitsVnniVbmi = kBitsVnni | kVbmi.bits;

constexpr KernelRow kRows[] = {
    {"matmul_s8_cb_avx512vnnivbmi", {kBitsVnniVbmi}, refuses_int8, prepare_int8<kBitsVnniVbmi>},
    {"matmul_s8_cb_avx512vnni", {kBitsVnni}, refuses_int8, prepare_int8<kBitsVnni>},
    {"matmul_s8_cb_avxvnni", {kBitsAvxVnni}, refuses_int8, prepare_int8<kBitsAvxVnni>},
    {"matmul_s8_cb_avx2", kAvx2, refuses_int8, prepare_int8<kBits2>},
    {"matmul_s8_cb_ref", {}, refuses_int8, prepare_int8<0>},
    {"matmul_f32_cb_packed_avx512",
     {kBits512},
     refuses_packed,
     prepare_codebook<kBits512, Kept::packed>},
    {"matmul_f32_cb_bytes_avx512vbmi",
     {kBitsVbmi},
     refuses_bytes,
     prepare_codebook<kBitsVbmi, Kept::bytes>},
    {"matmul_f32_cb_panel_avx512vbmi",
     {kBitsVbmi},
     refuses_codebook,
     prepare_codebook<kBitsVbmi, Kept::planes>},
    {"matmul_f32_cb_panel_avx512",
     {kBits512},
     refuses_codebook,
     prepare_codebook<kBits512, Kept::planes>},
    {"matmul_f32_cb_panel_avx2", kAvx2, refuses_codebook, prepare_codebook<kBits2, Kept::planes>},
    {"matmul_f32_cb_ref", {}, refuses_codebook, prepare_codebook<0, Kept::planes>},
    {"matmul_f32_avx512", {kBits512}, refuses_dense, prepare_dense<kBits512>},
    {"matmul_f32_avx2", kAvx2, refuses_dense, prepare_dense<kBits2>},
    {"matmul_f32_ref", {}, refuses_dense, prepare_dense<0>},
};

}  // namespace

std::span<const KernelRow> matmul_rows() {
  return kRows;
}

}  // namespace tessera
