// JPEG pictures as RGB bytes, by libjpeg-turbo (ISO/IEC 10918-1): 8 bits, baseline or progressive,
// grey, RGB, YCbCr, CMYK and YCCK. Orientation tags are ignored, as torchvision ignores them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/tensor.h"
#include "datasets/rgb_image.h"

namespace tessera::datasets {

// What a header may declare before anything is allocated for it. The largest picture of ImageNet
// has 9331 x 6530 pixels.
inline constexpr std::int64_t kMaxJpegPixels = 100'000'000;

// One picture. Every Error is one line that starts with "[jpeg] NAME:"; data that ends early or is
// visibly corrupt is an Error, never a grey area in the picture.
class JpegReader {
 public:
  // Reads the header. `bytes` must outlive the reader. Throws Error when they are no JPEG (saying
  // what else they are), lack the end marker, or declare what is not supported or more than
  // max_pixels.
  JpegReader(std::span<const std::uint8_t> bytes, std::string name,
             std::int64_t max_pixels = kMaxJpegPixels);
  ~JpegReader();
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  std::int64_t width() const { return width_; }
  std::int64_t height() const { return height_; }
  // In the file: 1, 3 or 4.
  int components() const;

  // The largest of 1, 2, 4, 8 by which the picture can be reduced while a part of width x height
  // pixels keeps at least min_width x min_height.
  static int denominator(std::int64_t width, std::int64_t height, std::int64_t min_width,
                         std::int64_t min_height);

  // Decodes the pixels of `box` of the picture reduced by `denominator` (1, 2, 4 or 8), which has
  // ceil(width / denominator) x ceil(height / denominator) pixels. Reducing happens in the
  // transform and costs a fraction of the whole; so does a box, whose pixels are those that the
  // whole picture would have there. The result lies in `memory`. Once per reader.
  RgbView read(const PixelRect& box, int denominator, RgbImage& memory);
  RgbView read(RgbImage& memory) { return read({0, 0, width_, height_}, 1, memory); }

 private:
  struct State;
  void read_header(std::int64_t max_pixels);
  std::unique_ptr<State> state_;
  std::int64_t width_ = 0, height_ = 0;
};

// u8 [ceil(h / denominator), ceil(w / denominator), 3].
Tensor decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name,
                   int denominator = 1);
Tensor read_jpeg(const std::filesystem::path& path, int denominator = 1);

// Replaces `bytes` by those of a file. Throws Error when it cannot be read or has 256 MiB or more.
void read_bytes(const std::filesystem::path& path, std::vector<std::uint8_t>& bytes);

}  // namespace tessera::datasets
