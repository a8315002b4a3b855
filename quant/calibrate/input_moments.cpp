#include "quant/calibrate/input_moments.h"

#include <algorithm>
#include <cmath>

#include "core/cpu.h"
#include "core/linear_algebra.h"
#include "core/parallel.h"
#include "ops/conv/conv.h"
#include "ops/conv/im2col.h"

namespace tessera::quant {
namespace {

// Parts of `columns` from `column` on, none wider than kMostColumns.
void add_parts(std::vector<InputMoments>& out, std::int64_t row, std::int64_t rows,
               std::int64_t columns) {
  const std::int64_t parts = (columns + kMostColumns - 1) / kMostColumns;
  for (std::int64_t p = 0; p < parts; ++p) {
    const std::int64_t begin = columns * p / parts, width = columns * (p + 1) / parts - begin;
    out.push_back(
        {row, rows, begin, width, std::vector<float>(static_cast<std::size_t>(width * width))});
  }
}

// x f32[rows, n], as often as a sample has rows.
void add_rows(std::span<const float> x, std::int64_t n, InputMoments& part) {
  if (part.columns == n) {
    linalg::add_gram(x, part.moments, static_cast<int>(n));
    return;
  }
  std::vector<float> some;
  for (std::size_t r = 0; r < x.size(); r += static_cast<std::size_t>(n)) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(r) + part.column;
    some.insert(some.end(), begin, begin + part.columns);
  }
  linalg::add_gram(some, part.moments, static_cast<int>(part.columns));
}

// x f32[images, c, h, w].
void add_patches(const Tensor& x, const ConvGeometry& g, std::vector<InputMoments>& parts) {
  const LineKernels& lines = line_kernels(active_features());
  const std::int64_t pixels = g.oh * g.ow, image = g.c * g.h * g.w,
                     group = g.group_channels() * g.h * g.w;
  const auto values = x.span<float>();
  parallel_for(static_cast<std::int64_t>(parts.size()), 1, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t p = from; p < to; ++p) {
      InputMoments& part = parts[static_cast<std::size_t>(p)];
      std::vector<float> patches(static_cast<std::size_t>(part.columns * pixels));
      const std::int64_t channels = part.row / g.group_outputs() * group;
      for (std::int64_t n = 0; n < x.shape()[0].value(); ++n) {
        im2col(lines, g, values.data() + n * image + channels, part.column, part.columns, 0, pixels,
               patches.data(), pixels);
        linalg::add_gram_of_columns(patches, part.moments, static_cast<int>(part.columns));
      }
    }
  });
}

}  // namespace

std::vector<InputMoments> input_moments(const Layer& layer, const State& state,
                                        const CalibrationSet& samples) {
  const Shape& shape = layer.node->input(1).shape();
  const std::int64_t rows = shape[0].value(), columns = shape.numel() / rows;
  const bool conv = shape.rank() == 4;
  std::vector<InputMoments> parts;
  std::int64_t groups = 1;
  if (conv) {
    const Shape one = layer.input().type().bind(1).shape;
    groups = conv_geometry(layer.node->attrs(), one, shape).groups;
  }
  for (std::int64_t g = 0; g < groups; ++g)
    add_parts(parts, g * rows / groups, rows / groups, columns);
  double seen = 0;
  std::vector<const Node*> readers = {layer.node};
  readers.insert(readers.end(), layer.sharing.begin(), layer.sharing.end());
  for (const Node* reader : readers) {
    for_activations(reader->input(0), state, samples, [&](const Tensor& x) {
      if (conv) {
        const ConvGeometry g = conv_geometry(reader->attrs(), x.shape(), shape);
        add_patches(x, g, parts);
        seen += static_cast<double>(g.n * g.oh * g.ow);
        return;
      }
      for (InputMoments& part : parts) add_rows(x.span<float>(), columns, part);
      seen += static_cast<double>(x.shape().numel() / columns);
    });
  }
  for (InputMoments& part : parts) {
    const auto n = static_cast<std::size_t>(part.columns);
    const auto mean = static_cast<float>(1 / seen);
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t c = r; c < n; ++c) part.moments[c * n + r] = part.moments[r * n + c] *= mean;
      check(std::isfinite(part.moments[r * n + r]), "what '", layer.name,
            "' reads on the calibration samples is not finite");
    }
  }
  return parts;
}

}  // namespace tessera::quant
