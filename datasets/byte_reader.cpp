#include "datasets/byte_reader.h"

#include <algorithm>
#include <array>
#include <boost/iostreams/filter/gzip.hpp>
#include <boost/iostreams/filter/lzma.hpp>
#include <boost/iostreams/filtering_streambuf.hpp>
#include <fstream>
#include <string_view>

#include "core/error.h"

namespace tessera::datasets {
namespace {

namespace io = boost::iostreams;

// Deflate codes at most 258 bytes in 2 bits.
constexpr std::int64_t kMostPerGzipByte = 1032;
// LZMA codes at most 273 bytes in 14 binary decisions, each of at least log2(2048 / 2017) bits.
constexpr std::int64_t kMostPerXzByte = 7100;

constexpr std::string_view kGzipStart = "\x1f\x8b";
constexpr std::string_view kXzStart{
    "\xfd"
    "7zXZ\0",
    6};

std::string packing_of(std::ifstream& file) {
  std::array<char, 6> bytes{};
  file.read(bytes.data(), bytes.size());
  const std::string_view start(bytes.data(), static_cast<std::size_t>(file.gcount()));
  file.clear();
  file.seekg(0);
  if (start.starts_with(kGzipStart)) return "gzip";
  return start == kXzStart ? "xz" : "";
}

const char* reason(const io::gzip_error& error) {
  switch (error.error()) {
    case io::gzip::bad_crc:
      return "wrong checksum";
    case io::gzip::bad_length:
      return "wrong length";
    case io::gzip::bad_header:
      return "bad header";
    case io::gzip::bad_footer:
      return "bad or missing footer";
    case io::gzip::bad_method:
      return "unknown compression method";
    default:
      return "invalid or truncated data";
  }
}

}  // namespace

struct ByteReader::Stream {
  std::ifstream file;
  io::filtering_streambuf<io::input> source;
};

ByteReader::ByteReader(const std::string& reader, const std::filesystem::path& path)
    : where_(cat("[", reader, "] ", path.string())), stream_(std::make_unique<Stream>()) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  check(std::filesystem::exists(status), where_, ": no such file");
  check(std::filesystem::is_regular_file(status), where_,
        ": expected a file, found something else (a folder?)");
  file_bytes_ = static_cast<std::int64_t>(std::filesystem::file_size(path, error));
  stream_->file.open(path, std::ios::binary);
  check(!error && stream_->file.is_open(), where_, ": cannot be opened for reading");
  packing_ = packing_of(stream_->file);
  constexpr std::streamsize kBuffer = 64 * 1024;
  if (packing_ == "gzip") stream_->source.push(io::gzip_decompressor(), kBuffer);
  if (packing_ == "xz") stream_->source.push(io::lzma_decompressor(), kBuffer);
  stream_->source.push(stream_->file, kBuffer);
}

ByteReader::~ByteReader() = default;

std::int64_t ByteReader::most_bytes() const {
  if (!packed()) return file_bytes_;
  return file_bytes_ * (packing_ == "gzip" ? kMostPerGzipByte : kMostPerXzByte);
}

std::int64_t ByteReader::read(char* out, std::int64_t n) {
  auto damaged = [&](const char* why) {
    return cat(where_, ": damaged ", packing_, " stream after ", position_,
               " unpacked bytes or later (", why, "), expected a whole ", packing_, " file");
  };
  try {
    const std::int64_t got = stream_->source.sgetn(out, n);
    position_ += got;
    return got;
  } catch (const io::gzip_error& error) {
    fail(damaged(reason(error)));
  } catch (const io::lzma_error&) {
    fail(damaged("invalid or truncated data"));
  } catch (const std::ios_base::failure& error) {
    fail(where_, ": cannot be read after byte ", position_, ": ", error.what());
  }
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& dir,
                                            const std::string& part) {
  std::error_code error;
  std::vector<std::filesystem::path> out;
  for (std::filesystem::directory_iterator at(dir, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;
    if (at->path().filename().string().find(part) != std::string::npos &&
        at->is_regular_file(ignored)) {
      out.push_back(at->path());
    }
  }
  check(!error, dir.string(), ": cannot be listed: ", error.message());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace tessera::datasets
