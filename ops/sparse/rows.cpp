// Kernel rows of the sparse ops. Positions are read once into rows of columns (a repack, in the
// prologue where they do not change); what runs is the stored values.
#include <cstring>
#include <limits>
#include <memory>

#include "core/parallel.h"
#include "core/tensor.h"
#include "ops/conv/conv.h"
#include "ops/op_common.h"
#include "ops/sparse/kernels.h"
#include "ops/sparse/positions.h"
#include "ops/sparse/sparse.h"

namespace tessera {

namespace {

constexpr std::int64_t kGrain = 1 << 15;  // products worth a thread
constexpr std::int64_t kFewRows = 4;      // of x, that are multiplied one by one

const SparseKernels& kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx512)) return tessera_sparse_avx512;
  if (features.includes(kAvx2)) return tessera_sparse_avx2;
#endif
  return tessera_sparse_ref;
}

std::string refuses_nothing(const KernelQuery&) {
  return {};
}

// Positions are kept as rows and columns of 32 bits.
std::string refuses_large(const KernelQuery& query) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max() - 1;
  const Shape& shape = query.node.attrs().shape("shape");
  const std::int64_t width = product(shape, 1, shape.rank());
  if (shape[0].value() > kMost || width > kMost || query.node.input(2).shape().numel() > kMost)
    return "rows, columns or values are over 31 bits";
  return {};
}

// s32: starts [rows + 1], columns [count], and with the rows of the transpose also slots [count]:
// which value comes where.
struct Arrangement {
  std::int64_t rows, width, count;  // of the matrix whose rows these are
  bool transposed;                  // it is the transpose of what is stored
  std::int64_t bytes = 0;           // of the positions

  std::int64_t packed_bytes() const { return 4 * (rows + 1 + (transposed ? 2 : 1) * count); }
  void pack(const std::uint8_t* stream, std::int32_t* out) const {
    std::int32_t *starts = out, *columns = out + rows + 1, *slots = columns + count;
    const std::int64_t stored_width = transposed ? rows : width;
    const auto each = [&](const auto& fn) {
      PositionReader reader(stream, bytes, rows * width);
      for (std::int64_t j = 0; j < count; ++j) {
        const std::int64_t at = reader.next();
        fn(static_cast<std::int32_t>(j), at / stored_width, at % stored_width);
      }
      reader.finish();
    };
    std::fill(starts, starts + rows + 1, 0);
    each([&](std::int32_t, std::int64_t row, std::int64_t column) {
      ++starts[(transposed ? column : row) + 1];
    });
    for (std::int64_t r = 0; r < rows; ++r) starts[r + 1] += starts[r];
    if (!transposed) {
      each([&](std::int32_t j, std::int64_t, std::int64_t column) {
        columns[j] = static_cast<std::int32_t>(column);
      });
      return;
    }
    // starts[r] moves to the end of row r while it is filled, which is the start of row r + 1.
    each([&](std::int32_t j, std::int64_t row, std::int64_t column) {
      const std::int32_t to = starts[column]++;
      columns[to] = static_cast<std::int32_t>(row);
      slots[to] = j;
    });
    std::memmove(starts + 1, starts, 4 * static_cast<std::size_t>(rows));
    starts[0] = 0;
  }
  // `ordered`: room for the values in the order of the rows, where they are transposed.
  SparseRows bind(const BufferRef& packed, const float* values, float* ordered) const {
    const auto* starts = packed.as<const std::int32_t>();
    SparseRows out{starts, starts + rows + 1, values, rows};
    if (transposed) {
      const std::int32_t* slots = out.columns + count;
      for (std::int64_t j = 0; j < count; ++j) ordered[j] = values[slots[j]];
      out.values = ordered;
    }
    return out;
  }
  std::vector<std::optional<OperandPack>> packs() const {
    const Arrangement self = *this;
    return {std::nullopt,
            OperandPack{Encoding::packed(transposed ? "csc" : "csr", packed_bytes(), {}),
                        [self](const KernelArgs& args) {
                          self.pack(args.in(0).as<const std::uint8_t>(),
                                    args.out().as<std::int32_t>());
                        },
                        0}};
  }
};

Arrangement arrangement_of(const Node& node, bool transposed) {
  const Shape& shape = node.attrs().shape("shape");
  const std::int64_t rows = shape[0].value(), width = product(shape, 1, shape.rank());
  return {transposed ? width : rows, transposed ? rows : width, node.input(2).shape()[0].value(),
          transposed, node.input(1).shape()[0].value()};
}

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

template <std::uint32_t kBits>
KernelPlan prepare_matmul(const KernelQuery& query) {
  const Arrangement a = arrangement_of(query.node, !query.node.attrs().boolean("transpose_b"));
  const std::int64_t m = query.node.input(0).shape()[0].value();
  const SparseKernels& k = kernels(CpuFeatures{kBits});
  const std::int64_t blocks = (m + kSparseBlock - 1) / kSparseBlock;
  const std::int64_t work = a.width * kSparseBlock;  // floats of one thread
  const std::int64_t parts = std::clamp<std::int64_t>(
      m * (a.count + a.width) / kGrain, 1, std::min<std::int64_t>(blocks, query.threads));
  const std::int64_t ordered = a.transposed ? aligned(4 * a.count) : 0;
  KernelPlan out;
  out.packs = a.packs();
  out.flops = 2.0 * static_cast<double>(m) * static_cast<double>(a.count);
  if (m < kFewRows) {
    out.scratch_bytes = ordered;
    const std::int64_t grain = 1 + kGrain * a.rows / std::max<std::int64_t>(1, a.count);
    out.run = [a, m, &k, grain](const KernelArgs& args) {
      const SparseRows s =
          a.bind(args.in(1), args.in(2).as<const float>(), reinterpret_cast<float*>(args.scratch));
      for (std::int64_t i = 0; i < m; ++i) {
        const float* x = args.in(0).as<const float>() + i * a.width;
        float* y = args.out().as<float>() + i * a.rows;
        parallel_for(a.rows, grain,
                     [&](std::int64_t begin, std::int64_t end) { k.vector(s, x, begin, end, y); });
      }
    };
    return out;
  }
  out.scratch_bytes = ordered + parts * aligned(4 * work);
  out.run = [a, m, &k, blocks, work, parts, ordered](const KernelArgs& args) {
    const SparseRows s =
        a.bind(args.in(1), args.in(2).as<const float>(), reinterpret_cast<float*>(args.scratch));
    parallel_parts(parts, [&](std::int64_t part) {
      auto* own = reinterpret_cast<float*>(args.scratch + ordered + part * aligned(4 * work));
      for (std::int64_t b = blocks * part / parts; b < blocks * (part + 1) / parts; ++b) {
        const std::int64_t i = b * kSparseBlock;
        k.block(s, args.in(0).as<const float>() + i * a.width, a.width,
                std::min(kSparseBlock, m - i), a.width, own, args.out().as<float>() + i * a.rows,
                a.rows);
      }
    });
  };
  return out;
}

// Output pixels [begin, end) along one axis whose source, i * stride + first, lies inside.
struct Inside {
  std::int64_t begin, end;
};
Inside inside(std::int64_t size, std::int64_t count, std::int64_t stride, std::int64_t first) {
  const std::int64_t begin = first >= 0 ? 0 : (-first + stride - 1) / stride;
  const std::int64_t end = first >= size ? 0 : (size - first + stride - 1) / stride;
  return {std::min(begin, count), std::clamp(end, std::min(begin, count), count)};
}

// One plane of y: every value adds its multiple of a shifted plane of x.
void conv_plane(const ConvGeometry& g, const SparseRows& s, const SparseKernels& k, std::int64_t o,
                const float* x, float* y) {
  std::fill(y, y + g.oh * g.ow, 0.0f);
  const std::int64_t first = o / g.group_outputs() * g.group_channels();
  for (std::int64_t j = s.starts[o]; j < s.starts[o + 1]; ++j) {
    const std::int64_t c = s.columns[j] / (g.kh * g.kw), tap = s.columns[j] % (g.kh * g.kw);
    const std::int64_t down = tap / g.kw * g.dilation_h - g.top;
    const std::int64_t right = tap % g.kw * g.dilation_w - g.left;
    const Inside rows = inside(g.h, g.oh, g.stride_h, down);
    const Inside cols = inside(g.w, g.ow, g.stride_w, right);
    if (rows.begin >= rows.end || cols.begin >= cols.end) continue;
    const float* from = x + ((first + c) * g.h + rows.begin * g.stride_h + down) * g.w +
                        cols.begin * g.stride_w + right;
    k.add_lines(s.values[j], from, g.stride_h * g.w, g.stride_w, rows.end - rows.begin,
                cols.end - cols.begin, y + rows.begin * g.ow + cols.begin, g.ow);
  }
}

template <std::uint32_t kBits>
KernelPlan prepare_conv(const KernelQuery& query) {
  const Arrangement a = arrangement_of(query.node, false);
  const ConvGeometry g = conv_geometry(query.node.attrs(), query.node.input(0).shape(),
                                       query.node.attrs().shape("shape"));
  const SparseKernels& k = kernels(CpuFeatures{kBits});
  const std::int64_t pixels = g.oh * g.ow;
  const std::int64_t grain = 1 + kGrain / (pixels * (1 + a.count / g.out));
  KernelPlan out;
  out.packs = a.packs();
  out.flops = 2.0 * static_cast<double>(g.n * pixels) * static_cast<double>(a.count);
  out.run = [a, g, &k, pixels, grain](const KernelArgs& args) {
    const SparseRows s = a.bind(args.in(1), args.in(2).as<const float>(), nullptr);
    parallel_for(g.n * g.out, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        conv_plane(g, s, k, i % g.out, args.in(0).as<const float>() + i / g.out * g.c * g.h * g.w,
                   args.out().as<float>() + i * pixels);
      }
    });
  };
  return out;
}

KernelPlan prepare_scatter(const KernelQuery& query) {
  const std::int64_t numel = query.node.types()[0].shape.numel();
  const std::int64_t bytes = query.node.input(0).shape()[0].value();
  const std::int64_t count = query.node.input(1).shape()[0].value();
  KernelPlan out;
  out.run = [=](const KernelArgs& args) {
    float* to = args.out().as<float>();
    std::fill(to, to + numel, 0.0f);
    PositionReader reader(args.in(0).as<const std::uint8_t>(), bytes, numel);
    for (std::int64_t j = 0; j < count; ++j) to[reader.next()] = args.in(1).as<const float>()[j];
    reader.finish();
  };
  return out;
}

KernelPlan prepare_gather(const KernelQuery& query) {
  const std::int64_t numel = query.node.input(0).shape().numel();
  const std::int64_t bytes = query.node.input(1).shape()[0].value();
  const std::int64_t count = query.node.types()[0].shape.numel();
  KernelPlan out;
  out.run = [=](const KernelArgs& args) {
    PositionReader reader(args.in(1).as<const std::uint8_t>(), bytes, numel);
    for (std::int64_t j = 0; j < count; ++j)
      args.out().as<float>()[j] = args.in(0).as<const float>()[reader.next()];
    reader.finish();
  };
  return out;
}

constexpr std::uint32_t kBits2 = kAvx2.bits;
constexpr std::uint32_t kBits512 = kAvx2.bits | kAvx512.bits;

constexpr KernelRow kMatmulRows[] = {
    {"sparse_matmul_avx512", {kBits512}, refuses_large, prepare_matmul<kBits512>},
    {"sparse_matmul_avx2", kAvx2, refuses_large, prepare_matmul<kBits2>},
    {"sparse_matmul_ref", {}, refuses_large, prepare_matmul<0>},
};
constexpr KernelRow kConvRows[] = {
    {"sparse_conv2d_avx512", {kBits512}, refuses_large, prepare_conv<kBits512>},
    {"sparse_conv2d_avx2", kAvx2, refuses_large, prepare_conv<kBits2>},
    {"sparse_conv2d_ref", {}, refuses_large, prepare_conv<0>},
};
constexpr KernelRow kScatterRows[] = {{"sparse_scatter", {}, refuses_nothing, prepare_scatter}};
constexpr KernelRow kGatherRows[] = {{"sparse_gather", {}, refuses_nothing, prepare_gather}};

}  // namespace

std::span<const KernelRow> sparse_rows() {
  return kScatterRows;
}
std::span<const KernelRow> sparse_values_grad_rows() {
  return kGatherRows;
}
std::span<const KernelRow> sparse_matmul_rows() {
  return kMatmulRows;
}
std::span<const KernelRow> sparse_conv2d_rows() {
  return kConvRows;
}

}  // namespace tessera
