#include "datasets/image_ops.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace tessera::datasets {
namespace {

// In [low, high], from 24 random bits.
double between(double low, double high, Rng& rng) {
  return low + (high - low) * static_cast<double>(rng.uniform());
}

// Rec. 601 luma in Pillow's integers.
int grey_of(const std::uint8_t* rgb) {
  return (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16;
}

// Pillow's ImageEnhance: truncated, not rounded.
std::uint8_t blend(int from, std::uint8_t to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return static_cast<std::uint8_t>(std::clamp(value, 0.0f, 255.0f));
}

// Every value with one grey.
void blend_with(int grey, RgbImage& image, float factor) {
  std::array<std::uint8_t, 256> table;
  for (std::size_t v = 0; v < table.size(); ++v)
    table[v] = blend(grey, static_cast<std::uint8_t>(v), factor);
  std::uint8_t* p = image.row(0);
  std::transform(p, p + 3 * image.width() * image.height(), p,
                 [&](std::uint8_t v) { return table[v]; });
}

// Every pixel with its own grey.
void blend_with_grey(RgbImage& image, float factor) {
  std::uint8_t* p = image.row(0);
  const std::uint8_t* end = p + 3 * image.width() * image.height();
  for (; p != end; p += 3) {
    const int grey = grey_of(p);
    for (int c = 0; c < 3; ++c) p[c] = blend(grey, p[c], factor);
  }
}

int mean_grey(RgbImage& image) {
  const std::int64_t n = image.width() * image.height();
  const std::uint8_t* p = image.row(0);
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += grey_of(p + 3 * i);
  return static_cast<int>(static_cast<double>(sum) / static_cast<double>(n) + 0.5);
}

// (size - crop) / 2; halves go to the even number, as Python rounds.
std::int64_t center_of(std::int64_t size, std::int64_t crop) {
  return std::llrint(static_cast<double>(size - crop) / 2);
}

}  // namespace

void PhotoAugment::validate() const {
  check(min_area > 0 && min_area <= max_area && max_area <= 1,
        "[augment] expected 0 < min_area <= max_area <= 1, got ", min_area, " and ", max_area);
  check(min_ratio > 0 && min_ratio <= max_ratio && std::isfinite(max_ratio),
        "[augment] expected 0 < min_ratio <= max_ratio, got ", min_ratio, " and ", max_ratio);
  check(flip >= 0 && flip <= 1, "[augment] expected a flip probability in [0, 1], got ", flip);
  for (const float v : {brightness, contrast, saturation}) {
    check(v >= 0 && v <= 1,
          "[augment] expected brightness, contrast and saturation in [0, 1], got ", v);
  }
}

PixelRect random_crop(std::int64_t width, std::int64_t height, const PhotoAugment& augment,
                      Rng& rng) {
  const double area = static_cast<double>(width * height);
  const double low = std::log(augment.min_ratio), high = std::log(augment.max_ratio);
  for (int tries = 0; tries < 10; ++tries) {
    const double target = area * between(augment.min_area, augment.max_area, rng);
    const double ratio = std::exp(between(low, high, rng));
    const std::int64_t w = std::llrint(std::sqrt(target * ratio)),
                       h = std::llrint(std::sqrt(target / ratio));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const auto y = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(height - h + 1)));
    const auto x = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(width - w + 1)));
    return {x, y, w, h};
  }
  std::int64_t w = width, h = height;
  const double ratio = static_cast<double>(width) / static_cast<double>(height);
  if (ratio < augment.min_ratio) {
    h = std::clamp<std::int64_t>(std::llrint(static_cast<double>(w) / augment.min_ratio), 1, h);
  } else if (ratio > augment.max_ratio) {
    w = std::clamp<std::int64_t>(std::llrint(static_cast<double>(h) * augment.max_ratio), 1, w);
  }
  return {(width - w) / 2, (height - h) / 2, w, h};
}

Resize center_crop(std::int64_t width, std::int64_t height, std::int64_t short_side,
                   std::int64_t crop) {
  Resize out{width, height, width, height, {}};
  if (short_side > 0) {
    const std::int64_t least = std::min(width, height);
    out.to_width = short_side * width / least;
    out.to_height = short_side * height / least;
  }
  check(crop > 0 && crop <= out.to_width && crop <= out.to_height, "[images] a picture of ",
        out.to_width, " x ", out.to_height, " pixels is smaller than the crop of ", crop);
  out.window = {center_of(out.to_width, crop), center_of(out.to_height, crop), crop, crop};
  return out;
}

void adjust(RgbImage& image, Colour what, float factor) {
  switch (what) {
    case Colour::brightness:
      return blend_with(0, image, factor);
    case Colour::contrast:
      return blend_with(mean_grey(image), image, factor);
    case Colour::saturation:
      return blend_with_grey(image, factor);
  }
}

void color_jitter(RgbImage& image, const PhotoAugment& augment, Rng& rng) {
  struct Step {
    Colour what;
    float range;
  };
  std::array<Step, 3> steps{Step{Colour::brightness, augment.brightness},
                            Step{Colour::contrast, augment.contrast},
                            Step{Colour::saturation, augment.saturation}};
  for (std::size_t i = steps.size(); i > 1; --i) std::swap(steps[i - 1], steps[rng.below(i)]);
  for (const Step& step : steps) {
    const float factor = rng.uniform(1 - step.range, 1 + step.range);
    if (step.range > 0) adjust(image, step.what, factor);
  }
}

Planes::Planes(const PixelFormat& format) {
  check(format.range > 0 && std::isfinite(format.range),
        "[images] expected a positive pixel range, got ", format.range);
  for (std::size_t c = 0; c < 3; ++c) {
    check(std::isfinite(format.mean[c]) && format.std[c] > 0 && std::isfinite(format.std[c]),
          "[images] expected finite means and positive standard deviations, got ", format.mean[c],
          " and ", format.std[c]);
    source_[c] = static_cast<int>(format.order == ChannelOrder::rgb ? c : 2 - c);
    for (std::size_t v = 0; v < 256; ++v) {
      const double pixel = static_cast<double>(v) * format.range / 255;
      table_[c][v] = static_cast<float>((pixel - format.mean[c]) / format.std[c]);
    }
  }
}

void Planes::write(const RgbView& image, bool mirrored, std::span<float> out) const {
  const std::int64_t plane = image.width * image.height;
  TESSERA_ASSERT(static_cast<std::int64_t>(out.size()) == 3 * plane);
  for (std::size_t c = 0; c < 3; ++c) {
    const float* table = table_[c].data();
    float* to = out.data() + static_cast<std::int64_t>(c) * plane;
    for (std::int64_t y = 0; y < image.height; ++y, to += image.width) {
      const std::uint8_t* from = image.row(y) + source_[c];
      if (mirrored) {
        for (std::int64_t x = 0; x < image.width; ++x) to[image.width - 1 - x] = table[from[3 * x]];
      } else {
        for (std::int64_t x = 0; x < image.width; ++x) to[x] = table[from[3 * x]];
      }
    }
  }
}

}  // namespace tessera::datasets
