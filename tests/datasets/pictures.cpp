#include "tests/datasets/pictures.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>

namespace tessera::datasets {
namespace {

template <class Pixel>
RgbImage make(std::int64_t width, std::int64_t height, const Pixel& pixel) {
  RgbImage out;
  out.resize(width, height);
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t c = 0; c < 3; ++c)
        out.row(y)[3 * x + c] = static_cast<std::uint8_t>(pixel(x, y, c));
    }
  }
  return out;
}

}  // namespace

RgbImage pattern(std::int64_t width, std::int64_t height) {
  return make(width, height, [](std::int64_t x, std::int64_t y, std::int64_t c) {
    return (37 * x + 91 * y + 53 * c + 7 * x * y) % 256;
  });
}

RgbImage waves(std::int64_t width, std::int64_t height) {
  return make(width, height, [](std::int64_t x, std::int64_t y, std::int64_t c) {
    const double at = static_cast<double>(x * (3 - c) + y * (c + 1)) / 40;
    return std::lround(127.5 + 100 * std::sin(at));
  });
}

std::string encode_jpeg(const RgbImage& image, const JpegSettings& settings) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);  // exits: what is encoded here is right
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  const int n = settings.components;
  info.image_width = static_cast<JDIMENSION>(image.width());
  info.image_height = static_cast<JDIMENSION>(image.height());
  info.input_components = n;
  info.in_color_space = n == 1 ? JCS_GRAYSCALE : n == 2 ? JCS_UNKNOWN : n == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  if (settings.ycck) jpeg_set_colorspace(&info, JCS_YCCK);
  if (n == 4) info.write_Adobe_marker = settings.adobe;
  jpeg_set_quality(&info, settings.quality, TRUE);
  if (n == 3) {
    info.comp_info[0].h_samp_factor = settings.across;
    info.comp_info[0].v_samp_factor = settings.down;
  }
  if (settings.progressive) jpeg_simple_progression(&info);
  info.restart_interval = static_cast<unsigned>(settings.restart);
  jpeg_start_compress(&info, TRUE);
  std::vector<std::uint8_t> row(static_cast<std::size_t>(n * image.width()));
  const RgbView view = image.view();
  for (std::int64_t y = 0; y < image.height(); ++y) {
    for (std::int64_t x = 0; x < image.width(); ++x) {
      for (int c = 0; c < n; ++c) {
        // CMYK without black: ink = 255 - light.
        const int light = c < 3 ? view.row(y)[3 * x + c] : 255;
        row[static_cast<std::size_t>(n * x + c)] =
            static_cast<std::uint8_t>(n == 4 && !settings.adobe ? 255 - light : light);
      }
    }
    JSAMPROW rows = row.data();
    jpeg_write_scanlines(&info, &rows, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string out(reinterpret_cast<const char*>(memory), size);
  std::free(memory);
  return out;
}

std::string jpeg_header(int frame, int precision, int width, int height, int components) {
  std::string out = "\xFF\xD8\xFF";
  auto add = [&](int value) { out += static_cast<char>(value); };
  auto add16 = [&](int value) {
    add(value >> 8);
    add(value & 255);
  };
  add(frame);
  add16(8 + 3 * components);
  add(precision);
  add16(height);
  add16(width);
  add(components);
  for (int c = 0; c < components; ++c) {
    add(c + 1);
    add(0x11);
    add(0);
  }
  out += "\xFF\xDA";
  add16(6 + 2 * components);
  add(components);
  for (int c = 0; c < components; ++c) {
    add(c + 1);
    add(0);
  }
  add(0);
  add(63);
  add(0);
  return out + "\xFF\xD9";
}

int difference(const RgbView& a, const RgbView& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  int most = 0;
  for (std::int64_t y = 0; y < a.height; ++y) {
    for (std::int64_t j = 0; j < 3 * a.width; ++j)
      most = std::max(most, std::abs(a.row(y)[j] - b.row(y)[j]));
  }
  return most;
}

}  // namespace tessera::datasets
