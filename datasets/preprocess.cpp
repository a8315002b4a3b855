#include "datasets/preprocess.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "core/parallel.h"

namespace tessera::datasets {
namespace {

constexpr std::int64_t kGrain = 32 * 1024;  // bytes of images worth another thread

void convert(const std::uint8_t* __restrict__ x, const float* __restrict__ scale,
             const float* __restrict__ shift, float* __restrict__ y, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) y[j] = static_cast<float>(x[j]) * scale[j] - shift[j];
}

// Rows of an epoch lie anywhere in the set, where no hardware prefetcher expects them: without this
// a batch takes three to four times as long.
void prefetch(const std::uint8_t* x, std::int64_t n) {
  for (std::int64_t j = 0; j < n; j += 64) __builtin_prefetch(x + j);
}

}  // namespace

ChannelMoments channel_moments(const Dataset& data) {
  const Shape& shape = data.images.shape();
  check(data.size() > 0 && shape.rank() >= 3, "[preprocess] ", data.name,
        ": expected images u8[n,h,w] or u8[n,c,h,w] and at least one, got ",
        data.images.text_type());
  const std::int64_t channels = shape.rank() == 4 ? shape[1].value() : 1;
  const std::int64_t rows = data.size() * channels, plane = data.pixels() / channels;
  const auto images = data.images.span<std::uint8_t>();
  struct Sums {
    std::uint64_t values = 0, squares = 0;
  };
  const std::int64_t parts = std::min<std::int64_t>(data.size(), 64);
  std::vector<Sums> sums(static_cast<std::size_t>(parts * channels));
  parallel_parts(parts, [&](std::int64_t part) {
    const std::int64_t begin = data.size() * part / parts * channels;
    const std::int64_t end = data.size() * (part + 1) / parts * channels;
    for (std::int64_t row = begin; row < end; ++row) {
      Sums of_row;
      for (const std::uint32_t x :
           images.subspan(static_cast<std::size_t>(row * plane), static_cast<std::size_t>(plane))) {
        of_row.values += x;
        of_row.squares += x * x;
      }
      Sums& sum = sums[static_cast<std::size_t>(part * channels + row % channels)];
      sum.values += of_row.values;
      sum.squares += of_row.squares;
    }
  });
  ChannelMoments out;
  for (std::int64_t c = 0; c < channels; ++c) {
    Sums sum;
    for (std::size_t i = static_cast<std::size_t>(c); i < sums.size();
         i += static_cast<std::size_t>(channels)) {
      sum.values += sums[i].values;
      sum.squares += sums[i].squares;
    }
    const double n = 255.0 * static_cast<double>(rows / channels * plane);
    const double mean = static_cast<double>(sum.values) / n;
    const double variance = static_cast<double>(sum.squares) / (255.0 * n) - mean * mean;
    out.mean.push_back(static_cast<float>(mean));
    out.std.push_back(static_cast<float>(std::sqrt(std::max(0.0, variance))));
  }
  return out;
}

Preprocess::Preprocess(Tensor scale, Tensor shift)
    : scale_(std::move(scale)), shift_(std::move(shift)) {
  for (const Tensor* t : {&scale_, &shift_}) {
    check(t->defined() && t->dtype() == DType::f32 && t->shape().rank() == 1,
          "[preprocess] expected scale and shift of type f32[pixels], got ",
          t->defined() ? t->text_type() : "an undefined tensor");
    const auto values = t->span<float>();
    check(std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }),
          "[preprocess] expected finite scale and shift, found NaN or infinity");
  }
  check(scale_.numel() == shift_.numel(),
        "[preprocess] expected scale and shift of one length, got ", scale_.text_type(), " and ",
        shift_.text_type());
}

Preprocess Preprocess::none(std::int64_t pixels) {
  return {Tensor::full({pixels}, 1.0f), Tensor(DType::f32, {pixels})};
}

Preprocess Preprocess::unit(std::int64_t pixels) {
  return {Tensor::full({pixels}, 1.0f / 255.0f), Tensor(DType::f32, {pixels})};
}

Preprocess Preprocess::minus_mean(const Dataset& train) {
  const std::int64_t n = train.size(), pixels = train.pixels();
  check(n > 0, "[preprocess] ", train.name, ": expected at least one image to take the mean of");
  Preprocess out = unit(pixels);
  const auto images = train.images.span<std::uint8_t>();
  const auto shift = out.shift_.span<float>();
  parallel_for(pixels, 64, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(end - begin));
    for (std::int64_t i = 0; i < n; ++i) {
      const std::uint8_t* row = images.data() + i * pixels + begin;
      for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += row[j];
    }
    for (std::size_t j = 0; j < sums.size(); ++j) {
      shift[static_cast<std::size_t>(begin) + j] =
          static_cast<float>(static_cast<double>(sums[j]) / (255.0 * static_cast<double>(n)));
    }
  });
  return out;
}

Preprocess Preprocess::standard(std::int64_t pixels, std::span<const float> mean,
                                std::span<const float> std) {
  const auto channels = static_cast<std::int64_t>(mean.size());
  check(channels > 0 && std.size() == mean.size() && pixels % channels == 0,
        "[preprocess] expected as many means as standard deviations, and that many channels in ",
        pixels, " values; got ", mean.size(), " and ", std.size());
  Tensor scale(DType::f32, {pixels}), shift(DType::f32, {pixels});
  for (std::int64_t j = 0; j < pixels; ++j) {
    const auto c = static_cast<std::size_t>(j / (pixels / channels));
    check(std[c] > 0, "[preprocess] expected a positive standard deviation, got ", std[c]);
    scale.span<float>()[static_cast<std::size_t>(j)] =
        static_cast<float>(1.0 / (255.0 * static_cast<double>(std[c])));
    shift.span<float>()[static_cast<std::size_t>(j)] = mean[c] / std[c];
  }
  return {std::move(scale), std::move(shift)};
}

Preprocess Preprocess::standard(const Dataset& train) {
  const ChannelMoments moments = channel_moments(train);
  return standard(train.pixels(), moments.mean, moments.std);
}

void Preprocess::gather(const Tensor& images, std::span<const std::int32_t> rows,
                        std::span<float> out) const {
  const std::int64_t width = pixels(),
                     n = images.shape().rank() > 0 ? images.shape()[0].value() : 0;
  check(n > 0 && images.numel() == n * width, "[preprocess] expected images of ", width,
        " values each, got ", images.text_type());
  const auto count = static_cast<std::int64_t>(rows.size());
  check(static_cast<std::int64_t>(out.size()) >= count * width, "[preprocess] expected room for ",
        count, " images of ", width, " values, got ", out.size(), " values");
  const auto bad =
      std::find_if(rows.begin(), rows.end(), [&](std::int32_t r) { return r < 0 || r >= n; });
  check(bad == rows.end(), "[preprocess] expected image numbers in [0, ", n, "), got ",
        bad == rows.end() ? 0 : *bad);
  const std::uint8_t* x = images.span<std::uint8_t>().data();
  const float* scale = scale_.span<float>().data();
  const float* shift = shift_.span<float>().data();
  auto row = [&](std::int64_t i) { return x + rows[static_cast<std::size_t>(i)] * width; };
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, width));
  parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t kAhead = 3;  // rows
    for (std::int64_t i = begin; i < std::min(end, begin + kAhead); ++i) prefetch(row(i), width);
    for (std::int64_t i = begin; i < end; ++i) {
      if (i + kAhead < end) prefetch(row(i + kAhead), width);
      convert(row(i), scale, shift, out.data() + i * width, width);
    }
  });
}

Tensor Preprocess::apply(const Tensor& images) const {
  const std::int64_t n = images.shape().rank() > 0 ? images.shape()[0].value() : 0;
  std::vector<std::int32_t> rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), 0);
  Tensor out(DType::f32, {n, pixels()});
  gather(images, rows, out.span<float>());
  return out;
}

}  // namespace tessera::datasets
