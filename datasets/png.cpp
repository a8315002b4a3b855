#include "datasets/png.h"

#include <algorithm>
#include <array>
#include <boost/iostreams/device/back_inserter.hpp>
#include <boost/iostreams/filter/zlib.hpp>
#include <boost/iostreams/filtering_stream.hpp>
#include <string_view>

#include "core/error.h"
#include "core/files/atomic_file.h"

namespace tessera::datasets {

namespace {

// Of PNG's chunks, as of zip and gzip.
std::uint32_t crc32(std::string_view bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> out{};
    for (std::uint32_t n = 0; n < 256; ++n) {
      std::uint32_t c = n;
      for (int k = 0; k < 8; ++k) c = (c >> 1) ^ (c & 1 ? 0xEDB88320u : 0u);
      out[n] = c;
    }
    return out;
  }();
  std::uint32_t c = 0xFFFFFFFFu;
  for (const char byte : bytes) c = table[(c ^ static_cast<std::uint8_t>(byte)) & 255] ^ (c >> 8);
  return ~c;
}

std::string big_endian(std::uint32_t n) {
  return {static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8),
          static_cast<char>(n)};
}

std::string chunk(std::string_view type, std::string_view data) {
  const std::string body = std::string(type) + std::string(data);
  return big_endian(static_cast<std::uint32_t>(data.size())) + body + big_endian(crc32(body));
}

std::string deflated(const std::string& bytes) {
  namespace io = boost::iostreams;
  std::string out;
  io::filtering_ostream stream;
  stream.push(io::zlib_compressor());
  stream.push(io::back_inserter(out));
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  stream.reset();
  return out;
}

}  // namespace

std::string png_bytes(const RgbView& picture) {
  check(picture.width >= 1 && picture.height >= 1, "a PNG needs pixels, got ", picture.width, " x ",
        picture.height);
  // Depth 8, colour type 2 (RGB), the only compression, filter and order; filter 0 of every row.
  const std::string header = big_endian(static_cast<std::uint32_t>(picture.width)) +
                             big_endian(static_cast<std::uint32_t>(picture.height)) +
                             std::string("\x08\x02\x00\x00\x00", 5);
  std::string rows;
  for (std::int64_t y = 0; y < picture.height; ++y) {
    rows += '\0';
    rows.append(reinterpret_cast<const char*>(picture.row(y)),
                static_cast<std::size_t>(3 * picture.width));
  }
  return "\x89PNG\r\n\x1A\n" + chunk("IHDR", header) + chunk("IDAT", deflated(rows)) +
         chunk("IEND", "");
}

void write_png(const std::filesystem::path& file, const RgbView& picture) {
  write_file(file, png_bytes(picture));
}

void draw_outline(RgbImage& picture, const PixelRect& box, const std::uint8_t (&colour)[3],
                  std::int64_t thick) {
  const auto fill = [&](std::int64_t x0, std::int64_t y0, std::int64_t x1, std::int64_t y1) {
    for (std::int64_t y = std::max<std::int64_t>(0, y0); y < std::min(picture.height(), y1); ++y) {
      for (std::int64_t x = std::max<std::int64_t>(0, x0); x < std::min(picture.width(), x1); ++x)
        std::copy(std::begin(colour), std::end(colour), picture.row(y) + 3 * x);
    }
  };
  const std::int64_t right = box.x + box.width, bottom = box.y + box.height;
  fill(box.x, box.y, right, box.y + thick);
  fill(box.x, bottom - thick, right, bottom);
  fill(box.x, box.y, box.x + thick, bottom);
  fill(right - thick, box.y, right, bottom);
}

}  // namespace tessera::datasets
