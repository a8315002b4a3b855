#include "datasets/idx.h"

#include <array>
#include <boost/iostreams/filter/gzip.hpp>
#include <boost/iostreams/filtering_streambuf.hpp>
#include <fstream>
#include <string>
#include <vector>

namespace tessera::datasets {
namespace {

namespace io = boost::iostreams;

// Deflate codes at most 258 bytes in 2 bits, so a gzip file cannot hold more than this many times
// its own size.
constexpr std::int64_t kMaxDeflateRatio = 1032;

std::string hex(std::uint32_t value) {
  std::string out = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789ABCDEF"[(value >> shift) & 15];
  return out;
}

// The bytes of a file, unpacked when it is gzip.
class ByteReader {
 public:
  explicit ByteReader(const std::filesystem::path& path) : name_(path.string()) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    check(std::filesystem::exists(status), "[idx] ", name_, ": no such file");
    check(std::filesystem::is_regular_file(status), "[idx] ", name_,
          ": expected a file, found something else (a folder?)");
    file_bytes_ = static_cast<std::int64_t>(std::filesystem::file_size(path, error));
    file_.open(path, std::ios::binary);
    check(!error && file_.is_open(), "[idx] ", name_, ": cannot be opened for reading");
    std::array<char, 2> start{};
    file_.read(start.data(), 2);
    gzip_ = file_.gcount() == 2 && start[0] == '\x1f' && start[1] == '\x8b';
    file_.clear();
    file_.seekg(0);
    if (gzip_) source_.push(io::gzip_decompressor());
    source_.push(file_);
  }

  const std::string& name() const { return name_; }
  bool gzip() const { return gzip_; }
  std::int64_t file_bytes() const { return file_bytes_; }

  // Up to n bytes; fewer only at the end. Throws Error when the gzip stream is damaged.
  std::int64_t read(char* out, std::int64_t n) {
    try {
      const std::int64_t got = source_.sgetn(out, n);
      position_ += got;
      return got;
    } catch (const io::gzip_error& error) {
      fail("[idx] ", name_, ": damaged gzip stream after ", position_, " unpacked bytes or later (",
           reason(error), "), expected a whole gzip file");
    } catch (const std::ios_base::failure& error) {
      fail("[idx] ", name_, ": cannot be read after byte ", position_, ": ", error.what());
    }
  }

 private:
  static const char* reason(const io::gzip_error& error) {
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

  std::string name_;
  std::ifstream file_;
  io::filtering_streambuf<io::input> source_;
  std::int64_t file_bytes_ = 0, position_ = 0;
  bool gzip_ = false;
};

std::uint32_t read_u32(ByteReader& in, const char* what) {
  std::array<char, 4> bytes{};
  const std::int64_t got = in.read(bytes.data(), 4);
  check(got == 4, "[idx] ", in.name(), ": the file ends inside its header: expected 4 bytes of ",
        what, ", found ", got);
  std::uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

Shape read_shape(ByteReader& in, std::int64_t max_bytes) {
  const std::uint32_t magic = read_u32(in, "magic");
  const std::uint32_t rank = magic & 255, type = (magic >> 8) & 255;
  check(magic >> 16 == 0 && (rank == 1 || rank == 3), "[idx] ", in.name(), ": found magic ",
        hex(magic), ", expected 0x00000803 (images) or 0x00000801 (labels)");
  check(type == 8, "[idx] ", in.name(), ": found type code ", type, " (magic ", hex(magic),
        "), expected 8 (unsigned bytes)");
  Shape shape;
  std::int64_t bytes = 1;
  for (std::uint32_t axis = 0; axis < rank; ++axis) {
    const std::int64_t n = read_u32(in, "axis length");
    shape.push_back(n);
    check(n > 0, "[idx] ", in.name(), ": axis ", axis, " has length 0, expected at least 1");
    // The product so far is at most max_bytes, n is below 2^32: no overflow below 2^31 * 2^32.
    bytes *= n;
    check(bytes <= max_bytes, "[idx] ", in.name(), ": the header declares ", shape.text(),
          rank > axis + 1 ? " and more" : "", ", above the limit of ", max_bytes, " bytes");
  }
  return shape;
}

}  // namespace

Tensor read_idx(const std::filesystem::path& path, std::int64_t max_bytes) {
  check(max_bytes >= 1 && max_bytes <= kMaxIdxBytes, "[idx] expected a limit of 1 to ",
        kMaxIdxBytes, " bytes, got ", max_bytes);
  ByteReader in(path);
  const Shape shape = read_shape(in, max_bytes);
  const std::int64_t declared = shape.numel();
  if (in.gzip()) {
    const std::int64_t most = in.file_bytes() * kMaxDeflateRatio;
    check(declared <= most, "[idx] ", in.name(), ": the header declares ", shape.text(), " = ",
          declared, " bytes, but a gzip file of ", in.file_bytes(), " bytes holds at most ", most);
  } else {
    const std::int64_t found = in.file_bytes() - 4 * (shape.rank() + 1);
    check(found == declared, "[idx] ", in.name(), found < declared ? ": truncated" : ": too long",
          ": the header declares ", shape.text(), " = ", declared, " bytes of data, found ", found);
  }
  Tensor out(DType::u8, shape);
  const std::int64_t got = in.read(reinterpret_cast<char*>(out.data()), declared);
  check(got == declared, "[idx] ", in.name(), ": truncated: the header declares ", shape.text(),
        " = ", declared, " bytes of data, found ", got);
  // Also makes gzip verify its checksum, which it does at the end only.
  char extra = 0;
  check(in.read(&extra, 1) == 0, "[idx] ", in.name(), ": too long: the header declares ",
        shape.text(), " = ", declared, " bytes of data, found more");
  return out;
}

}  // namespace tessera::datasets
