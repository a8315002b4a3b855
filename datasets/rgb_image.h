// RGB pictures of bytes, as decoders write and resizing reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera::datasets {

// A rectangle, in pixels.
struct PixelRect {
  std::int64_t x = 0, y = 0, width = 0, height = 0;
  bool operator==(const PixelRect&) const = default;
};

// Somebody else's pixels: pixel (x, y) is the three bytes at data + y * stride + 3 * x.
struct RgbView {
  const std::uint8_t* data = nullptr;
  std::int64_t width = 0, height = 0;
  std::int64_t stride = 0;  // bytes

  const std::uint8_t* row(std::int64_t y) const { return data + y * stride; }
  RgbView crop(const PixelRect& box) const {
    return {row(box.y) + 3 * box.x, box.width, box.height, stride};
  }
};

// Pixels of its own. Keeps its memory when it shrinks, so one image serves many pictures.
class RgbImage {
 public:
  // The pixels are not set.
  void resize(std::int64_t width, std::int64_t height) {
    width_ = width;
    height_ = height;
    const auto bytes = static_cast<std::size_t>(3 * width * height);
    if (bytes > bytes_.size()) bytes_.resize(bytes);
  }
  std::int64_t width() const { return width_; }
  std::int64_t height() const { return height_; }
  std::uint8_t* row(std::int64_t y) { return bytes_.data() + y * 3 * width_; }
  RgbView view() const { return {bytes_.data(), width_, height_, 3 * width_}; }

 private:
  std::int64_t width_ = 0, height_ = 0;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace tessera::datasets
