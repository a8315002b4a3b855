#include "datasets/resize.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/cpu.h"
#include "core/error.h"

namespace tessera::datasets {
namespace {

constexpr int kMaxShift = 22;  // sums of bytes times weights stay below 2^31

struct Span {
  std::int64_t begin, end;
};

// Half the filter's width, in pixels of the source.
double support(std::int64_t from, std::int64_t to) {
  return std::max(1.0, static_cast<double>(from) / static_cast<double>(to));
}

double center(std::int64_t from, std::int64_t to, std::int64_t i) {
  return (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to);
}

// Pixels of the source below the filter of pixel i.
Span span_of(std::int64_t from, std::int64_t to, std::int64_t i) {
  const double middle = center(from, to, i), reach = support(from, to);
  const auto begin = static_cast<std::int64_t>(middle - reach + 0.5);
  const auto end = static_cast<std::int64_t>(middle + reach + 0.5);
  return {std::max<std::int64_t>(begin, 0), std::min(end, from)};
}

Span span_of_window(std::int64_t from, std::int64_t to, std::int64_t begin, std::int64_t size) {
  return {span_of(from, to, begin).begin, span_of(from, to, begin + size - 1).end};
}

// Integers whose sum is exactly 1 << shift, so that an even area keeps its value.
void round_weights(const double* exact, std::int64_t n, int shift, std::int16_t* out) {
  const int one = 1 << shift;
  int sum = 0;
  for (std::int64_t t = 0; t < n; ++t) {
    out[t] = static_cast<std::int16_t>(std::lround(exact[t] * one));
    sum += out[t];
  }
  auto* largest = std::max_element(out, out + n);
  *largest = static_cast<std::int16_t>(*largest + one - sum);
}

}  // namespace

PixelRect Resize::source() const {
  const Span x = span_of_window(from_width, to_width, window.x, window.width),
             y = span_of_window(from_height, to_height, window.y, window.height);
  return {x.begin, y.begin, x.end - x.begin, y.end - y.begin};
}

void Resizer::Axis::build(std::int64_t from, std::int64_t to, std::int64_t begin,
                          std::int64_t size) {
  const double scale = support(from, to);
  const std::int64_t start = span_of(from, to, begin).begin;
  const auto n = static_cast<std::size_t>(size);
  first.resize(n);
  count.resize(n);
  std::int64_t most = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    const Span span = span_of(from, to, begin + i);
    first[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(span.begin - start);
    count[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(span.end - span.begin);
    most = std::max(most, span.end - span.begin);
  }
  taps = static_cast<int>((most + 3) / 4 * 4);
  exact.assign(n * static_cast<std::size_t>(taps), 0.0);
  double largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double* row = exact.data() + i * static_cast<std::size_t>(taps);
    const double middle = center(from, to, begin + static_cast<std::int64_t>(i)) - 0.5;
    for (int t = 0; t < count[i]; ++t) {
      const double distance = static_cast<double>(start + first[i] + t) - middle;
      row[t] = std::max(0.0, 1.0 - std::abs(distance) / scale);
    }
    const double sum = std::accumulate(row, row + count[i], 0.0);
    for (int t = 0; t < count[i]; ++t) row[t] /= sum;
    largest = std::max(largest, *std::max_element(row, row + count[i]));
  }
  // As many bits as the largest weight leaves in 16, one kept for what round_weights adds.
  shift = 14;
  while (shift < kMaxShift && std::ldexp(largest, shift + 1) < 32000) ++shift;
  weights.assign(exact.size(), 0);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at = i * static_cast<std::size_t>(taps);
    round_weights(exact.data() + at, count[i], shift, weights.data() + at);
  }
}

Resizer::Resizer(const ResizeKernels& kernels) : kernels_(kernels) {}

const ResizeKernels& Resizer::best() {
#if defined(__x86_64__)
  if (active_features().includes(kAvx2)) return tessera_resize_avx2;
#endif
  return tessera_resize_ref;
}

void Resizer::run(const Resize& how, const RgbView& source, RgbImage& out) {
  const PixelRect& window = how.window;
  check(how.from_width > 0 && how.from_height > 0 && window.x >= 0 && window.y >= 0 &&
            window.width > 0 && window.height > 0 && window.width <= how.to_width - window.x &&
            window.height <= how.to_height - window.y,
        "[resize] a window of ", window.width, " x ", window.height, " at (", window.x, ", ",
        window.y, ") leaves the result of ", how.to_width, " x ", how.to_height);
  const PixelRect needed = how.source();
  check(source.width == needed.width && source.height == needed.height,
        "[resize] expected a source of ", needed.width, " x ", needed.height, " pixels, got ",
        source.width, " x ", source.height);
  out.resize(window.width, window.height);
  if (how.from_width == how.to_width && how.from_height == how.to_height) {
    for (std::int64_t y = 0; y < window.height; ++y)
      std::copy_n(source.row(y), 3 * window.width, out.row(y));
    return;
  }
  columns_.build(how.from_width, how.to_width, window.x, window.width);
  rows_.build(how.from_height, how.to_height, window.y, window.height);
  // Kernels read zeros beyond the end of a row.
  const std::int64_t bytes = 3 * source.width, stride = 3 * window.width;
  row_.assign(static_cast<std::size_t>(bytes + 3 * columns_.taps + kResizeSlack), 0);
  narrow_.resize(static_cast<std::size_t>(stride * source.height));
  for (std::int64_t y = 0; y < source.height; ++y) {
    std::copy_n(source.row(y), bytes, row_.data());
    kernels_.columns(row_.data(), columns_.first.data(), columns_.weights.data(), columns_.taps,
                     columns_.shift, window.width, narrow_.data() + y * stride);
  }
  for (std::int64_t y = 0; y < window.height; ++y) {
    const auto i = static_cast<std::size_t>(y);
    kernels_.rows(narrow_.data() + rows_.first[i] * stride, stride,
                  rows_.weights.data() + i * static_cast<std::size_t>(rows_.taps), rows_.count[i],
                  rows_.shift, stride, out.row(y));
  }
}

}  // namespace tessera::datasets
