// Bytes as gzip and xz files hold them.
#pragma once

#include <boost/iostreams/copy.hpp>
#include <boost/iostreams/filter/gzip.hpp>
#include <boost/iostreams/filter/lzma.hpp>
#include <boost/iostreams/filtering_streambuf.hpp>
#include <sstream>
#include <string>

namespace tessera::datasets {

template <class Compressor>
std::string packed(const Compressor& compressor, const std::string& bytes) {
  std::istringstream in(bytes);
  std::ostringstream out;
  boost::iostreams::filtering_streambuf<boost::iostreams::input> source;
  source.push(compressor);
  source.push(in);
  boost::iostreams::copy(source, out);
  return out.str();
}

inline std::string gzip(const std::string& bytes) {
  return packed(boost::iostreams::gzip_compressor(boost::iostreams::gzip::best_speed), bytes);
}
inline std::string xz(const std::string& bytes) {
  return packed(boost::iostreams::lzma_compressor(boost::iostreams::lzma_params(1)), bytes);
}

}  // namespace tessera::datasets
