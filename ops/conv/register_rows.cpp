// Convolutions of few pixels with a codebook weight: a weight is used so seldom that storing its
// floats, in cache even, costs more than decoding them again. The pixels' patches are the rows of a
// product whose weight is decoded in registers (ops/codebook/codebook_matmul.h).
#include "ops/conv/register_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "core/parallel.h"
#include "ops/codebook/byte_panels.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/node_view.h"
#include "ops/conv/block_weight.h"
#include "ops/conv/pixel_epilogue.h"

#if defined(__x86_64__)

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock;
constexpr std::int64_t kGrain = 16384;  // floats of patches that a thread copies at least
enum class Form { packed, bytes };

std::int64_t pixels_of(const ConvGeometry& g) {
  return g.n * g.oh * g.ow;
}

// Columns of the weight by tap, then channel: sixteen channels of a pixel lie side by side.
CodebookView arranged(const CodebookView& v, const ConvGeometry& g,
                      std::vector<std::uint8_t>& memory) {
  const std::int64_t taps = g.kh * g.kw;
  std::vector<std::uint8_t> row(static_cast<std::size_t>(v.cols));
  std::vector<std::uint8_t> all(static_cast<std::size_t>(v.rows * v.cols));
  for (std::int64_t r = 0; r < v.rows; ++r) {
    unpack_indices(v.indices, r * v.cols, v.cols, v.bits, row.data());
    std::uint8_t* to = all.data() + r * v.cols;
    for (std::int64_t t = 0; t < taps; ++t) {
      for (std::int64_t c = 0; c < g.c; ++c) *to++ = row[static_cast<std::size_t>(c * taps + t)];
    }
  }
  memory.assign(static_cast<std::size_t>(codebook_index_bytes(v)), 0);
  pack_indices(all.data(), v.rows * v.cols, v.bits, memory.data());
  CodebookView out = v;
  out.indices = memory.data();
  return out;
}

class RegisterConv {
 public:
  RegisterConv(const KernelQuery& query, Form form)
      : g_(conv_geometry(query.node)),
        view_(view_of(query.node.input(1).type())),
        form_(form),
        k_(g_.patch()),
        row_floats_((k_ + kLanes + 15) / 16 * 16),
        plan_(prepare_codebook_matmul({.m = pixels_of(g_),
                                       .view = view_,
                                       .packed = form == Form::packed,
                                       .epilogue = true,
                                       .bytes = form == Form::bytes},
                                      query.features, query.threads)) {
    TESSERA_ASSERT(plan_.registers);
  }

  std::int64_t scratch_bytes() const {
    return patch_bytes() + static_cast<std::int64_t>(up64(plan_.scratch_bytes));
  }

  OperandPack pack(Value weight, CpuFeatures features) const {
    const bool bytes = form_ == Form::bytes;
    const auto size =
        static_cast<std::int64_t>(bytes ? byte_panels_bytes(view_) : packed_bytes(view_));
    return {Encoding::packed(bytes ? "cbbytes_taps" : "cbpanel_taps", size, weight.type().encoding),
            [view = view_, g = g_, features, bytes](const KernelArgs& args) {
              std::vector<std::uint8_t> memory;
              const CodebookView by_tap = arranged(bind_view(view, args.in(0)), g, memory);
              if (bytes)
                pack_byte_panels(by_tap, args.out().plane[0]);
              else
                repack_codebook(by_tap, features, args.out().plane[0]);
            }};
  }

  void run(const float* x, const void* packed, float* y, const PixelEpilogue::Bound& epilogue,
           std::byte* scratch) const {
    auto* patches = reinterpret_cast<float*>(scratch);
    parallel_for(pixels_of(g_), 1 + kGrain / k_, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t p = begin; p < end; ++p) copy_patch(x, p, patches + p * row_floats_);
    });
    const Result result{this, y, &epilogue};
    CodebookMatmulArgs args;
    args.x = patches;
    args.x_rs = row_floats_;
    args.packed = packed;
    args.epilogue = store;
    args.epilogue_context = const_cast<Result*>(&result);
    run_codebook_matmul(plan_, args, scratch + patch_bytes());
  }

 private:
  struct Result {
    const RegisterConv* conv;
    float* y;
    const PixelEpilogue::Bound* epilogue;
  };

  std::int64_t patch_bytes() const { return up64(4 * pixels_of(g_) * row_floats_); }

  // Of pixel p of all images; channels behind the last are overwritten by the next tap, or lie
  // behind the patch.
  void copy_patch(const float* x, std::int64_t p, float* to) const {
    const std::int64_t area = g_.oh * g_.ow, blocks = ceil_div(g_.c, kLanes);
    const float* image = x + p / area * blocks * g_.h * g_.w * kLanes;
    const std::int64_t top = p % area / g_.ow * g_.stride_h - g_.top,
                       left = p % g_.ow * g_.stride_w - g_.left;
    for (std::int64_t i = 0; i < g_.kh; ++i) {
      for (std::int64_t j = 0; j < g_.kw; ++j, to += g_.c) {
        const std::int64_t h = top + i * g_.dilation_h, w = left + j * g_.dilation_w;
        if (h < 0 || h >= g_.h || w < 0 || w >= g_.w) {
          std::fill_n(to, g_.c, 0.0f);
          continue;
        }
        const float* from = image + (h * g_.w + w) * kLanes;
        for (std::int64_t b = 0; b < blocks; ++b)
          std::memcpy(to + b * kLanes, from + b * g_.h * g_.w * kLanes, kLanes * sizeof(float));
      }
    }
  }

  // A tile of pixels by channels into the blocked result, through the node's program.
  static void store(void* context, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                    std::int64_t cols, float* tile, std::int64_t ld) {
    const auto& [conv, y, epilogue] = *static_cast<const Result*>(context);
    const std::int64_t area = conv->g_.oh * conv->g_.ow, blocks = ceil_div(conv->g_.out, kLanes);
    const std::int64_t block0 = col0 / kLanes, block1 = ceil_div(col0 + cols, kLanes);
    for (std::int64_t p = row0; p < row0 + rows;) {
      const std::int64_t image = p / area, first = p % area;
      const std::int64_t count = std::min(row0 + rows - p, area - first);
      for (std::int64_t b = block0; b < block1; ++b) {
        const std::int64_t lanes = std::min(kLanes, conv->g_.out - b * kLanes);
        float* to = y + ((image * blocks + b) * area + first) * kLanes;
        const float* from = tile + (p - row0) * ld + b * kLanes - col0;
        for (std::int64_t i = 0; i < count; ++i, to += kLanes, from += ld)
          std::memcpy(to, from, static_cast<std::size_t>(lanes) * sizeof(float));
      }
      epilogue->run(image, block0, block1, first, first + count);
      p += count;
    }
  }

  ConvGeometry g_;
  CodebookView view_;
  Form form_;
  std::int64_t k_, row_floats_;  // of a patch
  CodebookMatmulPlan plan_;
};

// Of all products of pixels and taps, those inside the image.
double share_inside(const ConvGeometry& g) {
  const auto inside = [](std::int64_t pixels, std::int64_t taps, std::int64_t stride,
                         std::int64_t dilation, std::int64_t before, std::int64_t size) {
    std::int64_t count = 0;
    for (std::int64_t p = 0; p < pixels; ++p) {
      for (std::int64_t t = 0; t < taps; ++t) {
        const std::int64_t at = p * stride + t * dilation - before;
        count += at >= 0 && at < size;
      }
    }
    return static_cast<double>(count) / static_cast<double>(pixels * taps);
  };
  return inside(g.oh, g.kh, g.stride_h, g.dilation_h, g.top, g.h) *
         inside(g.ow, g.kw, g.stride_w, g.dilation_w, g.left, g.w);
}

// Whether it takes less time than rows that decode to floats, in products of all weights with a
// pixel: those decode once and leave out the taps outside. One thread of a Zen 5, layers of 64 to
// 960 channels, by tessera bench kernels.
bool wins(const ConvGeometry& g, int bits) {
  const double products = bits <= 4 ? 1.05 : bits <= 6 ? 1.2 : 1.35, decoding = bits <= 6 ? 12 : 20;
  const auto pixels = static_cast<double>(pixels_of(g));
  return products * pixels <= share_inside(g) * pixels + decoding;
}

std::string refuses(const KernelQuery& query, Form form) {
  if (!query.node.input(1).type().encoding.is_codebook()) return "the weight is dense";
  if (!query.is_fixed(1)) return "the weight changes between steps";
  if (auto reason = refuses_block_images(query); !reason.empty()) return reason;
  if (auto reason = PixelEpilogue::refuses(query.node); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  const CodebookView view = view_of(query.node.input(1).type());
  if (g.groups != 1) return "groups";
  if (g.c < kLanes || g.out < kLanes) return "fewer than 16 channels";
  if (view.vector_len != 1) return "entries of several weights";
  if (view.block != 0 && view.block < view.cols) return "scale blocks";
  const std::int64_t most = form == Form::bytes ? kByteRegisterRows : packed_rows(view);
  if (pixels_of(g) == 0 || pixels_of(g) > most || !wins(g, view.bits)) return "many pixels";
  if (form == Form::bytes)
    return byte_panels_fit(view, query.features) ? "" : "few bits, or groups of few rows";
  const char* reason = nullptr;
  packable(view, &reason);
  return reason;
}
template <Form kForm>
std::string refuses_form(const KernelQuery& query) {
  return refuses(query, kForm);
}

template <Form kForm>
KernelPlan prepare(const KernelQuery& query) {
  struct State {
    RegisterConv conv;
    std::unique_ptr<PixelEpilogue> epilogue;
  };
  auto state = std::make_shared<State>(State{RegisterConv(query, kForm), nullptr});
  const Value weight = query.node.input(1);
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()), state->conv.pack(weight, query.features)};
  plan.flops = conv_geometry(query.node).flops();
  plan.note = "registers";
  state->epilogue = std::make_unique<PixelEpilogue>(query.node, query.features, plan);
  plan.scratch_bytes = state->conv.scratch_bytes() + state->epilogue->scratch_bytes();
  plan.run = [state](const KernelArgs& args) {
    const auto epilogue = state->epilogue->bind(args, args.scratch + state->conv.scratch_bytes());
    state->conv.run(args.in(0).as<const float>(), args.in(1).plane[0], args.out().as<float>(),
                    epilogue, args.scratch);
  };
  return plan;
}

constexpr KernelRow kRows[] = {{"conv2d_cb_registers_avx512", kAvx2 | kAvx512,
                                refuses_form<Form::packed>, prepare<Form::packed>},
                               {"conv2d_cb_registers_avx512vbmi", kAvx2 | kAvx512 | kVbmi,
                                refuses_form<Form::bytes>, prepare<Form::bytes>}};

}  // namespace

std::span<const KernelRow> conv2d_register_rows() {
  return kRows;
}

}  // namespace tessera

#else

namespace tessera {

std::span<const KernelRow> conv2d_register_rows() {
  return {};
}

}  // namespace tessera

#endif
