// Convolution as matrix products with patches, in the images' logical order: any geometry, any
// instruction set, codebook weights, and the faster choice where blocks of sixteen channels would
// be mostly padding (LeNet-5's 20 and 50 channels). Patches are made panel by panel, while they are
// in cache.
#include "ops/conv/gemm_rows.h"

#include <algorithm>
#include <memory>

#include "core/parallel.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/node_view.h"
#include "ops/conv/conv.h"
#include "ops/conv/im2col.h"
#include "ops/conv/plane_epilogue.h"
#include "ops/matmul/gemm.h"
#include "ops/op_common.h"

namespace tessera {

namespace {

constexpr std::uint32_t kBits2 = kAvx2.bits;
constexpr std::uint32_t kBits512 = kAvx2.bits | kAvx512.bits;

// What the fill callback of one image needs.
struct Patches {
  const LineKernels* lines;
  const ConvGeometry* g;
  const float* x;  // of the group
};
void fill_patches(const void* context, const GemmPanel& panel, void*) {
  const auto& patches = *static_cast<const Patches*>(context);
  TESSERA_ASSERT(panel.vs == kGemmLanes);
  im2col(*patches.lines, *patches.g, patches.x, panel.k0, panel.k, panel.col0, panel.cols,
         panel.dst, panel.ks);
  const std::int64_t width = (panel.cols + kGemmLanes - 1) / kGemmLanes * kGemmLanes;
  if (width == panel.cols) return;
  for (std::int64_t i = 0; i < panel.k; ++i)
    std::fill(panel.dst + i * panel.ks + panel.cols, panel.dst + i * panel.ks + width, 0.0f);
}

// A pointwise convolution's patches are the image itself.
bool is_pointwise(const ConvGeometry& g) {
  return g.kh == 1 && g.kw == 1 && g.stride_h == 1 && g.stride_w == 1 && g.top == 0 &&
         g.left == 0 && g.bottom == 0 && g.right == 0;
}

// Images and groups are spread over threads when there are enough of them, else each product is.
struct Split {
  std::int64_t items;  // products
  bool across;         // threads take whole products
  int inner_threads, outer_threads;
  Split(std::int64_t items, int threads)
      : items(items),
        across(items >= threads),
        inner_threads(across ? 1 : threads),
        outer_threads(across ? threads : 1) {}
  // fn(item, part): part numbers the scratch.
  template <class Fn>
  void run(Fn&& fn) const {
    const std::int64_t parts = std::min<std::int64_t>(items, outer_threads);
    parallel_parts(parts, [&](std::int64_t part) {
      for (std::int64_t i = items * part / parts; i < items * (part + 1) / parts; ++i) fn(i, part);
    });
  }
};

std::string refuses_layouts(const KernelQuery& query) {
  for (const Value v : query.node.inputs()) {
    if (v && !v.type().encoding.packed_layout().empty()) return "an operand is in a layout";
  }
  return {};
}
std::string refuses_dense(const KernelQuery& query) {
  if (auto reason = refuses_encoded(query); !reason.empty()) return reason;
  return &query.node.op() == &kConv2d ? refuses_plane_epilogue(query.node) : std::string();
}
}  // namespace

std::string refuses_narrow(const KernelQuery& query) {
  if (auto reason = refuses_dense(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  const auto padded = [](std::int64_t n) { return (n + 15) / 16 * 16; };
  const std::int64_t in = g.c < 16 ? g.c : padded(g.c);
  if (g.groups > 1 || 4 * padded(g.out) * in < 5 * g.out * g.c) return "channels fill blocks of 16";
  return {};
}

namespace {

template <std::uint32_t kBits>
KernelPlan prepare_forward(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  struct State {
    ConvGeometry g;
    Split split;
    GemmPlan plan;
    std::unique_ptr<const CarriedProgram> epilogue;
    std::int64_t part_bytes;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const Split split(g.n * g.groups, query.threads);
  auto epilogue = plane_epilogue(query.node, g, features);
  const GemmProblem problem{.m = g.group_outputs(),
                            .n = g.oh * g.ow,
                            .k = g.patch(),
                            .b = is_pointwise(g) ? GemmB::kRows : GemmB::kFill,
                            .epilogue = epilogue != nullptr};
  const GemmPlan gemm = prepare_gemm(problem, features, split.inner_threads);
  auto state = std::make_shared<const State>(
      State{g, split, gemm, std::move(epilogue),
            static_cast<std::int64_t>((gemm.scratch_bytes + 63) / 64 * 64)});
  KernelPlan out;
  out.flops = g.flops();
  out.scratch_bytes = state->part_bytes * split.outer_threads;
  out.in_place = true;
  out.run = [state](const KernelArgs& args) {
    const ConvGeometry& g = state->g;
    state->split.run([&](std::int64_t item, std::int64_t part) {
      const std::int64_t n = item / g.groups, group = item % g.groups;
      const std::int64_t first = group * g.group_outputs();
      const Patches patches{
          &line_kernels(features), &g,
          args.in(0).as<const float>() + (n * g.c + group * g.group_channels()) * g.h * g.w};
      GemmArgs gemm;
      gemm.a = args.in(1).as<const float>() + first * g.patch();
      gemm.a_rs = g.patch();
      gemm.b = patches.x;
      gemm.ldb = g.oh * g.ow;
      gemm.fill = fill_patches;
      gemm.fill_context = &patches;
      CarriedProgram::Call call;
      if (state->epilogue) {
        call = state->epilogue->bind(args, n, first);
        gemm.epilogue = CarriedProgram::run;
        gemm.epilogue_context = &call;
      } else {
        gemm.c = args.out().as<float>() + (n * g.out + first) * g.oh * g.ow;
        gemm.ldc = g.oh * g.ow;
      }
      run_gemm(state->plan, gemm, args.scratch + part * state->part_bytes);
    });
  };
  return out;
}

template <std::uint32_t kBits>
KernelPlan prepare_grad_input(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  struct State {
    ConvGeometry g;
    Split split;
    GemmPlan plan;
    std::int64_t gemm_bytes, part_bytes;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const Split split(g.n * g.groups, query.threads);
  const GemmProblem problem{
      .m = g.patch(), .n = g.oh * g.ow, .k = g.group_outputs(), .b = GemmB::kRows};
  const GemmPlan gemm = prepare_gemm(problem, features, split.inner_threads);
  const auto gemm_bytes = static_cast<std::int64_t>((gemm.scratch_bytes + 63) / 64 * 64);
  const std::int64_t patch_bytes = is_pointwise(g) ? 0 : (g.patch() * g.oh * g.ow + 15) / 16 * 64;
  auto state =
      std::make_shared<const State>(State{g, split, gemm, gemm_bytes, gemm_bytes + patch_bytes});
  KernelPlan out;
  out.flops = g.flops();
  out.scratch_bytes = state->part_bytes * split.outer_threads;
  out.run = [state](const KernelArgs& args) {
    const ConvGeometry& g = state->g;
    state->split.run([&](std::int64_t item, std::int64_t part) {
      const std::int64_t n = item / g.groups, group = item % g.groups;
      const std::int64_t first = group * g.group_outputs();
      std::byte* scratch = args.scratch + part * state->part_bytes;
      float* dx = args.out().as<float>() + (n * g.c + group * g.group_channels()) * g.h * g.w;
      auto* patches = reinterpret_cast<float*>(scratch + state->gemm_bytes);
      GemmArgs gemm;
      gemm.a = args.in(1).as<const float>() + first * g.patch();
      gemm.a_rs = 1;
      gemm.a_cs = g.patch();
      gemm.b = args.in(0).as<const float>() + (n * g.out + first) * g.oh * g.ow;
      gemm.ldb = g.oh * g.ow;
      gemm.c = is_pointwise(g) ? dx : patches;
      gemm.ldc = g.oh * g.ow;
      run_gemm(state->plan, gemm, scratch);
      if (is_pointwise(g)) return;
      std::fill_n(dx, g.group_channels() * g.h * g.w, 0.0f);
      col2im_add(line_kernels(features), g, patches, dx);
    });
  };
  return out;
}

// Sums over images are cut into chunks that depend on shapes only, so the bits do not depend on the
// number of threads.
constexpr std::int64_t kMostChunks = 16;
constexpr std::int64_t kPartialBytes = 64 << 20;

template <std::uint32_t kBits>
KernelPlan prepare_grad_weight(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  struct State {
    ConvGeometry g;
    std::int64_t chunks, weights;  // elements of dw
    GemmPlan plan;
    std::int64_t gemm_bytes, part_bytes, partial_bytes;
    int threads;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const std::int64_t weights = g.out * g.patch();
  const std::int64_t chunks =
      std::clamp<std::int64_t>(kPartialBytes / (weights * 4), 1, std::min(kMostChunks, g.n));
  const GemmProblem problem{
      .m = g.group_outputs(), .n = g.patch(), .k = g.oh * g.ow, .b = GemmB::kColumns};
  const GemmPlan gemm = prepare_gemm(problem, features, 1);
  const auto gemm_bytes = static_cast<std::int64_t>((gemm.scratch_bytes + 63) / 64 * 64);
  const std::int64_t patch_bytes = is_pointwise(g) ? 0 : (g.patch() * g.oh * g.ow + 15) / 16 * 64;
  const std::int64_t partial = chunks > 1 ? (weights + 15) / 16 * 64 : 0;
  auto state = std::make_shared<const State>(State{
      g, chunks, weights, gemm, gemm_bytes, gemm_bytes + patch_bytes, partial, query.threads});
  KernelPlan out;
  out.flops = g.flops();
  out.scratch_bytes = state->part_bytes * query.threads + partial * chunks;
  out.run = [state](const KernelArgs& args) {
    const State& s = *state;
    const ConvGeometry& g = s.g;
    std::byte* partials = args.scratch + s.part_bytes * s.threads;
    const std::int64_t parts = std::min<std::int64_t>(s.threads, s.chunks);
    parallel_parts(parts, [&](std::int64_t part) {
      std::byte* scratch = args.scratch + part * s.part_bytes;
      auto* patches = reinterpret_cast<float*>(scratch + s.gemm_bytes);
      for (std::int64_t chunk = s.chunks * part / parts; chunk < s.chunks * (part + 1) / parts;
           ++chunk) {
        float* dw = s.chunks > 1 ? reinterpret_cast<float*>(partials + chunk * s.partial_bytes)
                                 : args.out().as<float>();
        const std::int64_t begin = g.n * chunk / s.chunks, end = g.n * (chunk + 1) / s.chunks;
        for (std::int64_t item = begin * g.groups; item < end * g.groups; ++item) {
          const std::int64_t n = item / g.groups, group = item % g.groups;
          const std::int64_t first = group * g.group_outputs();
          const float* x =
              args.in(1).as<const float>() + (n * g.c + group * g.group_channels()) * g.h * g.w;
          if (!is_pointwise(g))
            im2col(line_kernels(features), g, x, 0, g.patch(), 0, g.oh * g.ow, patches,
                   g.oh * g.ow);
          GemmArgs gemm;
          gemm.a = args.in(0).as<const float>() + (n * g.out + first) * g.oh * g.ow;
          gemm.a_rs = g.oh * g.ow;
          gemm.b = is_pointwise(g) ? x : patches;
          gemm.ldb = g.oh * g.ow;
          gemm.c = dw + first * g.patch();
          gemm.ldc = g.patch();
          gemm.accumulate = n > begin;
          run_gemm(s.plan, gemm, scratch);
        }
      }
    });
    if (s.chunks == 1) return;
    parallel_for(s.weights, 4096, [&](std::int64_t begin, std::int64_t end) {
      float* out = args.out().as<float>();
      std::copy(reinterpret_cast<float*>(partials) + begin,
                reinterpret_cast<float*>(partials) + end, out + begin);
      for (std::int64_t c = 1; c < s.chunks; ++c) {
        const auto* from = reinterpret_cast<const float*>(partials + c * s.partial_bytes);
        for (std::int64_t i = begin; i < end; ++i) out[i] += from[i];
      }
    });
  };
  return out;
}

// ---- codebook weights ----

std::string refuses_codebook(const KernelQuery& query) {
  if (auto reason = refuses_layouts(query); !reason.empty()) return reason;
  if (query.node.input(1).type().encoding.is_dense()) return "the weight is dense";
  return refuses_plane_epilogue(query.node);
}

// Rows of the weight that are decoded at once: they stay in the second-level cache.
constexpr std::int64_t kDecodedBytes = 768 << 10;

// Tile by tile of output channels: decode the tile's rows, multiply all images by them.
template <std::uint32_t kBits>
KernelPlan prepare_codebook(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  struct State {
    ConvGeometry g;
    CodebookView view;
    std::int64_t tile, tiles;  // rows of a tile; tiles of a group
    Split split;               // of the images
    GemmPlan plan, last;       // of whole tiles, and of the shorter last one
    std::unique_ptr<const CarriedProgram> epilogue;
    std::int64_t tile_bytes, part_bytes;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const std::int64_t outputs = g.group_outputs();
  const std::int64_t fit = std::max<std::int64_t>(8, kDecodedBytes / (4 * g.patch()) / 8 * 8);
  const std::int64_t tile = std::min(fit, outputs), tiles = (outputs + tile - 1) / tile;
  const Split split(g.n, query.threads);
  auto epilogue = plane_epilogue(query.node, g, features);
  GemmProblem problem{.m = tile,
                      .n = g.oh * g.ow,
                      .k = g.patch(),
                      .b = is_pointwise(g) ? GemmB::kRows : GemmB::kFill,
                      .epilogue = epilogue != nullptr};
  const GemmPlan whole = prepare_gemm(problem, features, split.inner_threads);
  problem.m = outputs - (tiles - 1) * tile;
  const GemmPlan last = prepare_gemm(problem, features, split.inner_threads);
  const auto gemm_bytes =
      static_cast<std::int64_t>((std::max(whole.scratch_bytes, last.scratch_bytes) + 63) / 64 * 64);
  auto state = std::make_shared<const State>(State{g, view_of(query.node.input(1).type()), tile,
                                                   tiles, split, whole, last, std::move(epilogue),
                                                   (tile * g.patch() + 15) / 16 * 64, gemm_bytes});
  KernelPlan out;
  out.flops = g.flops();
  out.scratch_bytes = state->tile_bytes + gemm_bytes * split.outer_threads;
  out.in_place = true;
  out.note = cat("decodes ", tile, " rows at a time");
  out.run = [state](const KernelArgs& args) {
    const State& s = *state;
    const ConvGeometry& g = s.g;
    const CodebookView view = bind_view(s.view, args.in(1));
    auto* rows = reinterpret_cast<float*>(args.scratch);
    for (std::int64_t item = 0; item < s.tiles * g.groups; ++item) {
      const std::int64_t group = item / s.tiles, tile = item % s.tiles;
      const std::int64_t first = group * g.group_outputs() + tile * s.tile;
      const GemmPlan& plan = tile + 1 == s.tiles ? s.last : s.plan;
      decode_rows(view, first, first + plan.problem.m, rows, g.patch(), CpuFeatures{kBits});
      s.split.run([&](std::int64_t n, std::int64_t part) {
        const Patches patches{
            &line_kernels(CpuFeatures{kBits}), &g,
            args.in(0).as<const float>() + (n * g.c + group * g.group_channels()) * g.h * g.w};
        GemmArgs gemm;
        gemm.a = rows;
        gemm.a_rs = g.patch();
        gemm.b = patches.x;
        gemm.ldb = g.oh * g.ow;
        gemm.fill = fill_patches;
        gemm.fill_context = &patches;
        CarriedProgram::Call call;
        if (s.epilogue) {
          call = s.epilogue->bind(args, n, first);
          gemm.epilogue = CarriedProgram::run;
          gemm.epilogue_context = &call;
        } else {
          gemm.c = args.out().as<float>() + (n * g.out + first) * g.oh * g.ow;
          gemm.ldc = g.oh * g.ow;
        }
        run_gemm(plan, gemm, args.scratch + s.tile_bytes + part * s.part_bytes);
      });
    }
  };
  return out;
}

constexpr KernelRow kNarrow[] = {
    {"conv2d_gemm_narrow_avx512", {kBits512}, refuses_narrow, prepare_forward<kBits512>}};
constexpr KernelRow kNarrowInput[] = {{"conv2d_grad_input_gemm_narrow_avx512",
                                       {kBits512},
                                       refuses_narrow,
                                       prepare_grad_input<kBits512>}};
constexpr KernelRow kNarrowWeight[] = {{"conv2d_grad_weight_gemm_narrow_avx512",
                                        {kBits512},
                                        refuses_narrow,
                                        prepare_grad_weight<kBits512>}};
constexpr KernelRow kForward[] = {
    {"conv2d_cb_avx512", {kBits512}, refuses_codebook, prepare_codebook<kBits512>},
    {"conv2d_cb_avx2", kAvx2, refuses_codebook, prepare_codebook<kBits2>},
    {"conv2d_cb_ref", {}, refuses_codebook, prepare_codebook<0>},
    {"conv2d_gemm_avx512", {kBits512}, refuses_dense, prepare_forward<kBits512>},
    {"conv2d_gemm_avx2", kAvx2, refuses_dense, prepare_forward<kBits2>},
    {"conv2d_gemm_ref", {}, refuses_dense, prepare_forward<0>}};
constexpr KernelRow kGradInput[] = {
    {"conv2d_grad_input_gemm_avx512", {kBits512}, refuses_dense, prepare_grad_input<kBits512>},
    {"conv2d_grad_input_gemm_avx2", kAvx2, refuses_dense, prepare_grad_input<kBits2>},
    {"conv2d_grad_input_gemm_ref", {}, refuses_dense, prepare_grad_input<0>}};
constexpr KernelRow kGradWeight[] = {
    {"conv2d_grad_weight_gemm_avx512", {kBits512}, refuses_dense, prepare_grad_weight<kBits512>},
    {"conv2d_grad_weight_gemm_avx2", kAvx2, refuses_dense, prepare_grad_weight<kBits2>},
    {"conv2d_grad_weight_gemm_ref", {}, refuses_dense, prepare_grad_weight<0>}};

}  // namespace

ConvRows conv2d_gemm_rows() {
  return {kNarrow, kForward};
}
ConvRows conv2d_grad_input_gemm_rows() {
  return {kNarrowInput, kGradInput};
}
ConvRows conv2d_grad_weight_gemm_rows() {
  return {kNarrowWeight, kGradWeight};
}

}  // namespace tessera
