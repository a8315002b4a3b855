#include "datasets/idx.h"

#include <array>
#include <string>

#include "datasets/byte_reader.h"

namespace tessera::datasets {
namespace {

std::string hex(std::uint32_t value) {
  std::string out = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789ABCDEF"[(value >> shift) & 15];
  return out;
}

std::uint32_t read_u32(ByteReader& in, const char* what) {
  std::array<char, 4> bytes{};
  const std::int64_t got = in.read(bytes.data(), 4);
  check(got == 4, in.where(), ": the file ends inside its header: expected 4 bytes of ", what,
        ", found ", got);
  std::uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

Shape read_shape(ByteReader& in, std::int64_t max_bytes) {
  const std::uint32_t magic = read_u32(in, "magic");
  const std::uint32_t rank = magic & 255, type = (magic >> 8) & 255;
  check(magic >> 16 == 0 && (rank == 1 || rank == 3), in.where(), ": found magic ", hex(magic),
        ", expected 0x00000803 (images) or 0x00000801 (labels)");
  check(type == 8, in.where(), ": found type code ", type, " (magic ", hex(magic),
        "), expected 8 (unsigned bytes)");
  Shape shape;
  std::int64_t bytes = 1;
  for (std::uint32_t axis = 0; axis < rank; ++axis) {
    const std::int64_t n = read_u32(in, "axis length");
    shape.push_back(n);
    check(n > 0, in.where(), ": axis ", axis, " has length 0, expected at least 1");
    // The product so far is at most max_bytes, n is below 2^32: no overflow below 2^31 * 2^32.
    bytes *= n;
    check(bytes <= max_bytes, in.where(), ": the header declares ", shape.text(),
          rank > axis + 1 ? " and more" : "", ", above the limit of ", max_bytes, " bytes");
  }
  return shape;
}

}  // namespace

Tensor read_idx(const std::filesystem::path& path, std::int64_t max_bytes) {
  check(max_bytes >= 1 && max_bytes <= kMaxIdxBytes, "[idx] expected a limit of 1 to ",
        kMaxIdxBytes, " bytes, got ", max_bytes);
  ByteReader in("idx", path);
  const Shape shape = read_shape(in, max_bytes);
  const std::int64_t declared = shape.numel();
  if (in.packed()) {
    check(declared <= in.most_bytes(), in.where(), ": the header declares ", shape.text(), " = ",
          declared, " bytes, but a ", in.packing(), " file of ", in.file_bytes(),
          " bytes holds at most ", in.most_bytes());
  } else {
    const std::int64_t found = in.file_bytes() - 4 * (shape.rank() + 1);
    check(found == declared, in.where(), found < declared ? ": truncated" : ": too long",
          ": the header declares ", shape.text(), " = ", declared, " bytes of data, found ", found);
  }
  Tensor out(DType::u8, shape);
  const std::int64_t got = in.read(reinterpret_cast<char*>(out.data()), declared);
  check(got == declared, in.where(), ": truncated: the header declares ", shape.text(), " = ",
        declared, " bytes of data, found ", got);
  // Also makes a packed file verify its checksum, which it does at the end only.
  char extra = 0;
  check(in.read(&extra, 1) == 0, in.where(), ": too long: the header declares ", shape.text(),
        " = ", declared, " bytes of data, found more");
  return out;
}

}  // namespace tessera::datasets
