// Pictures as PNG files (ISO/IEC 15948), for people to look at.
#pragma once

#include <filesystem>
#include <string>

#include "datasets/rgb_image.h"

namespace tessera::datasets {

// 8-bit RGB, whole or not at all. Throws Error where it cannot be written, or there is no pixel.
std::string png_bytes(const RgbView& picture);
void write_png(const std::filesystem::path& file, const RgbView& picture);

// The outline of a rectangle, `thick` pixels towards its inside; what leaves the picture is not
// drawn.
void draw_outline(RgbImage& picture, const PixelRect& box, const std::uint8_t (&colour)[3],
                  std::int64_t thick = 1);

}  // namespace tessera::datasets
