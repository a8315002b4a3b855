// Pictures and JPEG files made by tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/rgb_image.h"

namespace tessera::datasets {

// Channel c of pixel (x, y) is (37x + 91y + 53c + 7xy) mod 256: no two neighbours alike.
RgbImage pattern(std::int64_t width, std::int64_t height);
// Slow waves of colour, which JPEG keeps within a few levels.
RgbImage waves(std::int64_t width, std::int64_t height);

struct JpegSettings {
  int components = 3;  // 1: the red channel as grey; 2: undefined colours; 3; 4: CMYK or YCCK
  bool ycck = false;
  bool adobe = true;  // 4 components: with Adobe's marker and inverted, or without
  int quality = 90;
  int across = 2, down = 2;  // pixels per colour sample
  bool progressive = false;
  int restart = 0;  // blocks between restart markers
};
std::string encode_jpeg(const RgbImage& image, const JpegSettings& settings = {});

// The start of an image file with a frame header of this marker (0xC0: baseline), no data.
std::string jpeg_header(int frame, int precision, int width, int height, int components);

inline std::vector<std::uint8_t> as_bytes(const std::string& text) {
  return {text.begin(), text.end()};
}

// The greatest difference of two pictures of one size; 256 when they have not one size.
int difference(const RgbView& a, const RgbView& b);

}  // namespace tessera::datasets
