// Dimensions are collapsed until the innermost two are a region of rows x cols in which every
// operand is full, a row, a column or a scalar; the outer ones become a loop.
#include "ops/elementwise/program_loop.h"

#include <algorithm>

#include "core/parallel.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/program_runner.h"
#include "ops/layout/layout.h"
#include "ops/strided.h"

namespace tessera {

namespace {

// Elements below which another thread costs more than it saves.
constexpr std::int64_t kGrain = 32768;
constexpr std::int64_t kMaxCols = 16384;
// Of one call: generated code counts columns in 32 bits.
constexpr std::int64_t kMostPieces = (std::int64_t{1} << 30) / kMaxCols;

using Strides = std::vector<std::int64_t>;

OperandKind kind_of(std::int64_t row_stride, std::int64_t col_stride) {
  if (col_stride == 0) return row_stride == 0 ? OperandKind::scalar : OperandKind::column;
  return row_stride == 0 ? OperandKind::row : OperandKind::full;
}

// Physical dimensions of a blocked image: n, blocks, h, w, lanes.
Strides blocked_dims(const Shape& image) {
  return {image[0].value(), channel_blocks(image), image[2].value(), image[3].value(),
          kLayoutBlock};
}

// Pixels that a line of a loop over a blocked image takes together: one pixel is one vector, too
// little work between two lines. A divisor of the pixels of an image.
std::int64_t pixels_of_line(const Shape& image) {
  constexpr std::int64_t kMost = 16;
  const std::int64_t pixels = image[2].value() * image[3].value();
  for (std::int64_t n = std::min(kMost, pixels); n > 1; --n) {
    if (pixels % n == 0) return n;
  }
  return 1;
}

// A dense operand that varies over channels, and perhaps images, but not over pixels is copied:
// block by block, each block once for every pixel of a line, with zeros behind the last channel.
bool is_copied(const TensorType& type, const Shape& shape) {
  if (is_blocked(type)) return false;
  const auto s = broadcast_strides(type.shape, shape);
  return s[1] != 0 && s[2] == 0 && s[3] == 0;
}
// What can only be read through such a copy.
bool needs_padding(const TensorType& type, const Shape& shape) {
  if (is_blocked(type) || shape[1].value() % kLayoutBlock == 0) return false;
  return broadcast_strides(type.shape, shape)[1] != 0;
}

// Along n, blocks, lines, pixels of a line, lanes. Operands that vary over one side of the image
// only have no such form.
std::optional<Strides> line_strides(const TensorType& type, const Shape& shape,
                                    std::int64_t pixels) {
  const std::int64_t lines = shape[2].value() * shape[3].value() / pixels;
  const std::int64_t line = pixels * kLayoutBlock, blocks = channel_blocks(shape);
  const auto s = broadcast_strides(type.shape, shape);
  if (is_blocked(type)) {
    if (!(type.shape == shape)) return std::nullopt;
    return Strides{blocks * lines * line, lines * line, line, kLayoutBlock, 1};
  }
  if (is_copied(type, shape))
    return Strides{s[0] == 0 ? 0 : blocks * line, line, 0, kLayoutBlock, 1};
  if (s[1] == 0 && s[2] == 0 && s[3] == 0) return Strides{s[0], 0, 0, 0, 0};
  return std::nullopt;
}

Strides blocked_strides(const TensorType& type, const Shape& shape) {
  const Strides s = broadcast_strides(type.shape, shape);
  if (is_blocked(type)) {
    Strides own = strides_of(blocked_dims(type.shape));
    for (std::size_t d = 0; d < 4; ++d) {
      if (s[d] == 0 && shape[static_cast<int>(d)].value() != 1) own[d] = 0;
    }
    return own;
  }
  if (needs_padding(type, shape)) {
    const std::int64_t width = channel_blocks(shape) * kLayoutBlock;
    return {s[0] == 0 ? 0 : width, kLayoutBlock, 0, 0, 1};
  }
  return {s[0], kLayoutBlock * s[1], s[2], s[3], s[1]};
}

}  // namespace

struct ProgramLoop::Impl {
  StridedLoop strided;  // of the operands, and last of the results
  std::int64_t rows = 1, cols = 1, outer = 1;
  Strides row_strides;
  std::optional<ProgramRunner> runner;
  std::size_t results = 1;
  // Operand i is copied to scratch as `count` lines of `channels` padded to whole blocks, each
  // block `repeat` times.
  struct Padded {
    std::size_t operand;
    std::int64_t count, channels, repeat, offset;
    std::int64_t width() const {
      return (channels + kLayoutBlock - 1) / kLayoutBlock * kLayoutBlock * repeat;
    }
  };
  std::vector<Padded> padded;
  std::int64_t scratch_floats = 0;
  // Blocked results: planes of `pixels` and the lanes of the last block that are zero.
  std::int64_t images = 0, blocks = 0, pixels = 0, tail = 0;

  std::vector<OperandKind> kinds() const {
    const std::size_t n = strided.dims.size();
    std::vector<OperandKind> out;
    for (std::size_t i = 0; i + 1 < strided.strides.size(); ++i) {
      const std::int64_t col = cols == 1 ? 0 : strided.strides[i][n - 1];
      // One row: a vector along it is as good as full, and may share its buffer with the output.
      out.push_back(n == 1 && strided.strides[i][0] != 0 ? OperandKind::full
                    : n == 1                             ? OperandKind::scalar
                                                         : kind_of(row_strides[i], col));
    }
    return out;
  }

  // Where operand i starts for outer index u.
  std::int64_t offset(std::size_t i, std::int64_t u) const {
    std::int64_t out = 0;
    for (std::size_t d = strided.dims.size() - 2; d-- > 0;) {
      out += (u % strided.dims[d]) * strided.strides[i][d];
      u /= strided.dims[d];
    }
    return out;
  }

  void run(const float* const* in, float* const* out) const {
    // Units of work: whole rows, or pieces of long ones.
    const std::int64_t pieces = (cols + kMaxCols - 1) / kMaxCols;
    const std::int64_t piece = std::min(cols, kMaxCols);
    const std::int64_t units = outer * rows * pieces;
    parallel_for(units, std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(piece, 1)),
                 [&](std::int64_t begin, std::int64_t end) {
                   while (begin < end) begin = run_from(in, out, begin, end, pieces);
                 });
  }

  // One rectangle starting at unit `begin`; returns the first unit after it.
  std::int64_t run_from(const float* const* in, float* const* out, std::int64_t begin,
                        std::int64_t end, std::int64_t pieces) const {
    const std::int64_t line = begin / pieces, u = line / rows, row = line % rows;
    const std::int64_t col = begin % pieces * kMaxCols;
    std::int64_t height = 1, width = cols, next = 0;
    if (pieces > 1) {
      // Pieces of one row that lie side by side.
      next = std::min({end, (line + 1) * pieces, begin + kMostPieces});
      width = std::min(cols - col, (next - begin) * kMaxCols);
    } else {
      height = std::min(end - begin, rows - row);
      next = begin + height;
    }
    ProgramInput inputs[kMaxProgramOperands];
    ProgramOutput outputs[kMaxProgramOperands];
    const std::size_t n = runner->kinds().size();
    const bool deep = strided.dims.size() > 2;
    for (std::size_t i = 0; i < n; ++i) {
      inputs[i] = {in[i] + (deep ? offset(i, u) : 0), row_strides[i]};
    }
    for (std::size_t o = 0; o < results; ++o) {
      outputs[o] = {out[o] + (deep ? offset(n, u) : 0), row_strides[n]};
    }
    runner->run_at(row, col, height, width, inputs, outputs);
    return next;
  }

  void clear_tail(float* out) const {
    parallel_for(images, std::max<std::int64_t>(1, kGrain / (pixels * kLayoutBlock)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     float* block = out + ((i + 1) * blocks - 1) * pixels * kLayoutBlock;
                     for (std::int64_t p = 0; p < pixels; ++p) {
                       for (std::int64_t l = tail; l < kLayoutBlock; ++l)
                         block[p * kLayoutBlock + l] = 0;
                     }
                   }
                 });
  }
};

ProgramLoop::ProgramLoop(const Program& program, const Shape& shape,
                         std::span<const TensorType> operands, bool blocked, CpuFeatures features) {
  auto impl = std::make_unique<Impl>();
  StridedLoop all{blocked ? blocked_dims(shape) : shape.values(), {}};
  const std::int64_t pixels = blocked ? pixels_of_line(shape) : 1;
  bool lines = blocked && pixels > 1;
  for (const TensorType& type : operands) lines = lines && line_strides(type, shape, pixels);
  if (lines) {
    all.dims = {shape[0].value(), channel_blocks(shape),
                shape[2].value() * shape[3].value() / pixels, pixels, kLayoutBlock};
  }
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const TensorType& type = operands[i];
    all.strides.push_back(lines     ? *line_strides(type, shape, pixels)
                          : blocked ? blocked_strides(type, shape)
                                    : broadcast_strides(type.shape, shape));
    if (!blocked || !(lines ? is_copied(type, shape) : needs_padding(type, shape))) continue;
    const std::int64_t channels = shape[1].value();
    const Impl::Padded copy{i, type.shape.numel() / channels, channels, lines ? pixels : 1,
                            impl->scratch_floats};
    impl->scratch_floats += copy.count * copy.width();
    impl->padded.push_back(copy);
  }
  all.strides.push_back(strides_of(all.dims));
  impl->strided = collapse(all);
  const std::size_t n = impl->strided.dims.size();
  impl->cols = impl->strided.dims[n - 1];
  impl->rows = n > 1 ? impl->strided.dims[n - 2] : 1;
  for (std::size_t d = 0; d + 2 < n; ++d) impl->outer *= impl->strided.dims[d];
  for (const auto& s : impl->strided.strides)
    impl->row_strides.push_back(n > 1 ? s[n - 2] : impl->cols);
  impl->runner.emplace(program, impl->kinds(), features);
  impl->results = program.outputs.size();
  if (blocked && shape[1].value() % kLayoutBlock != 0) {
    impl->images = shape[0].value();
    impl->blocks = channel_blocks(shape);
    impl->pixels = shape[2].value() * shape[3].value();
    impl->tail = shape[1].value() % kLayoutBlock;
  }
  impl_ = std::move(impl);
}

ProgramLoop::~ProgramLoop() = default;

bool ProgramLoop::any_blocked(std::span<const TensorType> operands) {
  return std::any_of(operands.begin(), operands.end(), is_blocked);
}

std::string ProgramLoop::refuses_blocked(const Shape& shape, std::span<const TensorType> operands) {
  if (shape.rank() != 4) return "the result is no image";
  for (const TensorType& type : operands) {
    if (is_blocked(type)) {
      if (!(type.shape[1] == shape[1])) return "a blocked operand is broadcast along channels";
    } else if (!(type.shape == shape) && needs_padding(type, shape)) {
      const auto s = broadcast_strides(type.shape, shape);
      if (s[2] != 0 || s[3] != 0) return "a dense operand varies over channels and pixels";
    }
  }
  return {};
}

std::vector<std::optional<OperandPack>> ProgramLoop::agree(const Shape& shape,
                                                           std::span<TensorType> operands,
                                                           bool blocked, std::string& layout) {
  if (!blocked) return {};
  layout = kBlocked;
  std::vector<std::optional<OperandPack>> packs;
  for (TensorType& type : operands) {
    if (is_blocked(type) || !(type.shape == shape)) {
      packs.emplace_back();
    } else {
      packs.emplace_back(to_blocked(type));
      type.encoding = packs.back()->encoding;
    }
  }
  return packs;
}

std::int64_t ProgramLoop::scratch_bytes() const {
  return impl_->scratch_floats * 4;
}

void ProgramLoop::run(const float* const* in, float* const* out, std::byte* scratch) const {
  const float* inputs[kMaxProgramOperands];
  std::copy_n(in, impl_->runner->kinds().size(), inputs);
  for (const auto& p : impl_->padded) {
    float* to = reinterpret_cast<float*>(scratch) + p.offset;
    for (std::int64_t i = 0; i < p.count; ++i) {
      for (std::int64_t c = 0; c < p.channels; c += kLayoutBlock) {
        const std::int64_t lanes = std::min(kLayoutBlock, p.channels - c);
        const float* from = in[p.operand] + i * p.channels + c;
        float* block = to + i * p.width() + c * p.repeat;
        std::fill(std::copy_n(from, lanes, block), block + kLayoutBlock, 0.0f);
        for (std::int64_t r = 1; r < p.repeat; ++r)
          std::copy_n(block, kLayoutBlock, block + r * kLayoutBlock);
      }
    }
    inputs[p.operand] = to;
  }
  impl_->run(inputs, out);
  if (impl_->tail == 0) return;
  for (std::size_t o = 0; o < impl_->results; ++o) impl_->clear_tail(out[o]);
}

}  // namespace tessera
