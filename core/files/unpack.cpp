#include "core/files/unpack.h"

#include <algorithm>
#include <boost/crc.hpp>
#include <boost/iostreams/device/array.hpp>
#include <boost/iostreams/filter/lzma.hpp>
#include <boost/iostreams/filter/zlib.hpp>
#include <boost/iostreams/filtering_streambuf.hpp>

#include "core/error.h"

namespace tessera {

namespace {

namespace io = boost::iostreams;

// Deflate codes at most 258 bytes in 2 bits.
constexpr std::int64_t kMaxDeflateRatio = 1032;

// Everything the filter gives, up to `max_bytes` and one more.
template <class Filter>
std::string drain(const Filter& filter, std::string_view packed, std::int64_t max_bytes,
                  const std::string& place, const char* format) {
  constexpr std::size_t kStep = 1 << 20;
  std::string out;
  try {
    io::filtering_streambuf<io::input> source;
    source.push(filter);
    source.push(io::array_source(packed.data(), packed.size()));
    for (std::size_t at = 0; static_cast<std::int64_t>(at) <= max_bytes;) {
      const auto left = static_cast<std::size_t>(max_bytes) + 1 - at;
      out.resize(at + std::min(left, kStep));
      const auto got = source.sgetn(out.data() + at, static_cast<std::streamsize>(out.size() - at));
      at += static_cast<std::size_t>(std::max<std::streamsize>(got, 0));
      const bool ended = at < out.size();
      out.resize(at);
      if (ended) break;
    }
  } catch (const std::ios_base::failure&) {
    fail(place, ": damaged ", format, " data");
  }
  return out;
}

}  // namespace

std::string inflate(std::string_view packed, std::int64_t bytes, const std::string& place) {
  check(bytes / kMaxDeflateRatio <= std::ssize(packed), place, ": ", packed.size(),
        " bytes of deflate data cannot unpack to ", bytes);
  io::zlib_params params;
  params.noheader = true;
  std::string out = drain(io::zlib_decompressor(params), packed, bytes, place, "deflate");
  check(std::ssize(out) == bytes, place, ": expected ", bytes, " bytes unpacked, got ",
        std::ssize(out) > bytes ? "more" : std::to_string(out.size()));
  return out;
}

std::string unpack_xz(std::string_view packed, std::int64_t max_bytes, const std::string& file) {
  std::string out = drain(io::lzma_decompressor(), packed, max_bytes, file, "xz");
  check(std::ssize(out) <= max_bytes, file, ": ", packed.size(),
        " bytes of xz unpack to more than ", max_bytes,
        ", which a file of this size may not; --max-memory allows more");
  return out;
}

std::uint32_t crc32(std::string_view bytes) {
  boost::crc_32_type crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

}  // namespace tessera
