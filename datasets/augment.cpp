#include "datasets/augment.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"

namespace tessera::datasets {
namespace {

constexpr std::int64_t kGrain = 64 * 1024;  // values of images worth another thread

// Uniform in [0, n): n is far below 2^16, so the bias is too small to matter.
std::int64_t scaled(std::uint32_t bits, int width, std::int64_t n) {
  return static_cast<std::int64_t>((std::uint64_t{bits} * static_cast<std::uint64_t>(n)) >> width);
}

// Position i of an axis of n that goes on mirrored beyond both ends.
std::int64_t mirrored(std::int64_t i, std::int64_t n) {
  if (i < 0) i = -i;
  return i < n ? i : 2 * (n - 1) - i;
}

}  // namespace

std::string Augment::text() const {
  std::string out;
  auto add = [&](const std::string& step) { out += (out.empty() ? "" : ", ") + step; };
  if (pad > 0) add(cat("crop ", pad, border == Border::reflect ? " reflect" : ""));
  if (flip > 0) add(cat("flip ", flip));
  if (cutout > 0) add(cat("cutout ", cutout));
  return out.empty() ? "none" : out;
}

Augmenter::Augmenter(const Augment& options, const Shape& shape, std::uint64_t seed)
    : options_(options), seed_(seed) {
  if (options == Augment{}) return;
  check((shape.rank() == 2 || shape.rank() == 3) && !shape.is_symbolic(),
        "[augment] expected images [h,w] or [c,h,w], got ", shape.text());
  if (shape.rank() == 3) channels_ = shape[0].value();
  height_ = shape[-2].value();
  width_ = shape[-1].value();
  const std::int64_t side = std::min(height_, width_);
  check(options.pad >= 0 && options.pad < side, "[augment] pad: expected 0 to ", side - 1,
        " for images ", shape.text(), ", got ", options.pad);
  check(options.flip >= 0 && options.flip <= 1, "[augment] flip: expected a probability, got ",
        options.flip);
  check(options.cutout >= 0 && options.cutout <= side, "[augment] cutout: expected 0 to ", side,
        " for images ", shape.text(), ", got ", options.cutout);
}

Augmentation Augmenter::draw(std::int64_t epoch, std::int64_t index) const {
  static const std::uint64_t stream = stable_id("datasets/augment");
  const auto bits =
      philox(seed_, stream + static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(index));
  Augmentation out;
  out.dy = scaled(bits[0] >> 16, 16, 2 * options_.pad + 1) - options_.pad;
  out.dx = scaled(bits[0] & 0xffff, 16, 2 * options_.pad + 1) - options_.pad;
  out.flip = bits[1] * 0x1p-32 < options_.flip;
  out.cut_y = scaled(bits[2], 32, height_);
  out.cut_x = scaled(bits[3], 32, width_);
  return out;
}

void Augmenter::apply(const Augmentation& a, const float* in, float* out) const {
  // Columns [left, right) of a row, before the flip, come from inside the image.
  const std::int64_t left = std::max<std::int64_t>(0, -a.dx);
  const std::int64_t right = std::min(width_, width_ - a.dx);
  const bool reflect = options_.border == Augment::Border::reflect;
  const std::int64_t cut_top = a.cut_y - options_.cutout / 2;
  const std::int64_t cut_left = std::max<std::int64_t>(0, a.cut_x - options_.cutout / 2);
  const std::int64_t cut_right = std::min(width_, a.cut_x - options_.cutout / 2 + options_.cutout);
  for (std::int64_t c = 0; c < channels_; ++c) {
    for (std::int64_t y = 0; y < height_; ++y, out += width_) {
      const std::int64_t from = reflect ? mirrored(y + a.dy, height_) : y + a.dy;
      if (from < 0 || from >= height_) {
        std::fill_n(out, width_, 0.0f);
        continue;
      }
      const float* row = in + (c * height_ + from) * width_;
      auto rim = [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t x = begin; x < end; ++x)
          out[x] = reflect ? row[mirrored(x + a.dx, width_)] : 0.0f;
      };
      rim(0, left);
      std::copy(row + left + a.dx, row + right + a.dx, out + left);
      rim(right, width_);
      if (a.flip) std::reverse(out, out + width_);
      if (y >= cut_top && y < cut_top + options_.cutout)
        std::fill(out + cut_left, out + cut_right, 0.0f);
    }
  }
}

void Augmenter::operator()(std::int64_t epoch, std::span<const std::int32_t> rows,
                           std::span<float> images) const {
  const auto n = static_cast<std::int64_t>(rows.size()), values = channels_ * height_ * width_;
  check(static_cast<std::int64_t>(images.size()) == n * values, "[augment] expected ", n,
        " images of ", values, " values, got ", images.size(), " values");
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, values));
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> before(static_cast<std::size_t>(values));
    for (std::int64_t i = begin; i < end; ++i) {
      float* image = images.data() + i * values;
      std::copy_n(image, values, before.begin());
      apply(draw(epoch, rows[static_cast<std::size_t>(i)]), before.data(), image);
    }
  });
}

}  // namespace tessera::datasets
