#include "ops/matmul/rows.h"

#include <memory>

#include "ops/codebook/byte_panels.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/int8_matmul.h"
#include "ops/codebook/node_view.h"
#include "ops/elementwise/carried_program.h"
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

std::unique_ptr<const CarriedProgram> epilogue_of(const Node& node, const Dims& d,
                                                  CpuFeatures features) {
  return CarriedProgram::of(node, "epilogue", 2, {Shape{d.m, d.n}, 0}, features);
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
    std::unique_ptr<const CarriedProgram> epilogue;
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
    CarriedProgram::Call call;
    if (state->epilogue) {
      call = state->epilogue->bind(args);
      g.epilogue = CarriedProgram::run;
      g.before_tile = CarriedProgram::prefetch;
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

// Rows that keep an arrangement of their own of the weight.
std::string refuses_kept(const KernelQuery& query) {
  if (auto reason = refuses_codebook(query); !reason.empty()) return reason;
  if (!dims_of(query.node).tb) return "the weight is not transposed";
  if (!query.is_fixed(1)) return "the weight changes between steps";
  return {};
}

std::string refuses_packed(const KernelQuery& query) {
  if (auto reason = refuses_kept(query); !reason.empty()) return reason;
  const Dims d = dims_of(query.node);
  const CodebookView view = view_of(query.node.input(1).type());
  if (d.m > packed_rows(view)) return cat("batch ", d.m, " is over ", packed_rows(view));
  const char* reason = nullptr;
  if (!packable(view, &reason)) return reason;
  return {};
}

std::string refuses_bytes(const KernelQuery& query) {
  if (auto reason = refuses_kept(query); !reason.empty()) return reason;
  if (!byte_panels_fit(view_of(query.node.input(1).type()), query.features))
    return "few bits, or groups of few rows";
  return {};
}

// Where a product with a codebook goes: through the carried program, or as it is. `call` must live
// as long as the run.
template <class State, class Args>
void give(const State& state, const KernelArgs& args, CarriedProgram::Call& call, Args& c) {
  if (state.epilogue) {
    call = state.epilogue->bind(args);
    c.epilogue = CarriedProgram::run;
    c.epilogue_context = &call;
  } else {
    c.y = args.out().template as<float>();
    c.ldy = state.d.n;
  }
}

enum class Kept { planes, packed, bytes };

template <std::uint32_t kBits, Kept kKept>
KernelPlan prepare_codebook(const KernelQuery& query) {
  constexpr CpuFeatures features{kBits};
  struct State {
    Dims d;
    CodebookView view;
    CodebookMatmulPlan plan;
    std::unique_ptr<const CarriedProgram> epilogue;
  };
  auto state = std::make_shared<State>();
  state->d = dims_of(query.node);
  const Dims& d = state->d;
  state->view = view_of(query.node.input(1).type());
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
    CarriedProgram::Call call;
    give(*state, args, call, c);
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
  if (auto reason = refuses_kept(query); !reason.empty()) return reason;
  const char* reason = nullptr;
  return int8_fits(view_of(query.node.input(1).type()), &reason) ? "" : reason;
}

template <std::uint32_t kBits>
KernelPlan prepare_int8(const KernelQuery& query) {
  constexpr CpuFeatures features{kBits};
  struct State {
    Dims d;
    Int8MatmulPlan plan;
    std::unique_ptr<const CarriedProgram> epilogue;
  };
  auto state = std::make_shared<State>();
  state->d = dims_of(query.node);
  const Value weight = query.node.input(1);
  const CodebookView view = view_of(weight.type());
  state->epilogue = epilogue_of(query.node, state->d, features);
  state->plan =
      prepare_int8_matmul(state->d.m, view, state->epilogue != nullptr, features, query.threads);
  KernelPlan out;
  out.run = [state](const KernelArgs& args) {
    Int8MatmulArgs c;
    c.x = args.in(0).as<float>();
    c.x_rs = state->d.k;
    c.packed = args.in(1).plane[0];
    CarriedProgram::Call call;
    give(*state, args, call, c);
    run_int8_matmul(state->plan, c, args.scratch);
  };
  out.scratch_bytes = static_cast<std::int64_t>(state->plan.scratch_bytes);
  out.in_place = true;
  out.flops = flops_of(state->d);
  out.note = "int8";
  out.packs = {std::nullopt, pack_int8(weight)};
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
