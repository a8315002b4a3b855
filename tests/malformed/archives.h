// Archives that are small and unpack to much.
#pragma once

#include <boost/iostreams/copy.hpp>
#include <boost/iostreams/device/back_inserter.hpp>
#include <boost/iostreams/filter/lzma.hpp>
#include <boost/iostreams/filter/zlib.hpp>
#include <boost/iostreams/filtering_stream.hpp>
#include <cstdint>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/files/unpack.h"

namespace tessera::testing {

template <class Filter>
std::string packed(const std::string& content, const Filter& filter) {
  namespace io = boost::iostreams;
  std::string out;
  io::filtering_ostream stream;
  stream.push(filter);
  stream.push(io::back_inserter(out));
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  stream.reset();
  return out;
}

inline std::string xz_of_zeros(std::int64_t bytes) {
  const boost::iostreams::lzma_params fast(0);
  return packed(std::string(static_cast<std::size_t>(bytes), '\0'),
                boost::iostreams::lzma_compressor(fast));
}

// An archive of one array, "a": u8[bytes], deflated.
inline std::string npz_of_zeros(std::int64_t bytes) {
  const std::string text =
      cat("{'descr': '|u1', 'fortran_order': False, 'shape': (", bytes, ",), }\n");
  const auto little = [](auto value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  };
  const std::string content = std::string("\x93NUMPY\1\0", 8) +
                              little(static_cast<std::uint16_t>(text.size())) + text +
                              std::string(static_cast<std::size_t>(bytes), '\0');
  boost::iostreams::zlib_params raw;
  raw.noheader = true;
  const std::string data = packed(content, boost::iostreams::zlib_compressor(raw));
  const std::string common = little(std::uint16_t{0}) + little(std::uint16_t{8}) +
                             little(std::uint32_t{0}) + little(crc32(content)) +
                             little(static_cast<std::uint32_t>(data.size())) +
                             little(static_cast<std::uint32_t>(content.size())) +
                             little(std::uint16_t{5}) + little(std::uint16_t{0});
  const std::string local = "PK\3\4" + little(std::uint16_t{20}) + common + "a.npy" + data;
  const std::string directory =
      "PK\1\2" + little(std::uint32_t{20}) + common + std::string(14, '\0') + "a.npy";
  return local + directory + "PK\5\6" + std::string(4, '\0') + little(std::uint16_t{1}) +
         little(std::uint16_t{1}) + little(static_cast<std::uint32_t>(directory.size())) +
         little(static_cast<std::uint32_t>(local.size())) + std::string(2, '\0');
}

}  // namespace tessera::testing
