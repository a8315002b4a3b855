#include "ops/sparse/positions.h"

#include "core/error.h"

namespace tessera {

namespace {

constexpr std::int64_t kLong = 255;  // says that more bytes follow
constexpr int kMostBits = 42;        // of a gap: tensors have at most 2^39 elements

}  // namespace

std::vector<std::uint8_t> encode_positions(std::span<const std::int64_t> positions) {
  std::vector<std::uint8_t> out;
  out.reserve(positions.size() + positions.size() / 8);
  std::int64_t last = -1;
  for (const std::int64_t position : positions) {
    TESSERA_ASSERT(position > last);
    std::int64_t gap = position - last - 1;
    last = position;
    if (gap < kLong) {
      out.push_back(static_cast<std::uint8_t>(gap));
      continue;
    }
    out.push_back(static_cast<std::uint8_t>(kLong));
    for (gap -= kLong; gap >= 0x80; gap >>= 7) {
      out.push_back(static_cast<std::uint8_t>(0x80 | (gap & 0x7f)));
    }
    out.push_back(static_cast<std::uint8_t>(gap));
  }
  return out;
}

std::int64_t PositionReader::take() {
  check(at_ < end_, "sparse positions end within a value, after ", end_ - begin_, " bytes");
  return *at_++;
}

std::int64_t PositionReader::next() {
  std::int64_t gap = take();
  if (gap == kLong) {
    std::int64_t byte = 0x80;
    for (int shift = 0; byte & 0x80; shift += 7) {
      check(shift < kMostBits, "sparse positions: a gap at byte ", at_ - begin_, " is too long");
      byte = take();
      gap += (byte & 0x7f) << shift;
    }
  }
  last_ += 1 + gap;
  check(last_ < numel_, "sparse position ", last_, " is not below the number of elements, ",
        numel_);
  return last_;
}

void PositionReader::finish() const {
  check(at_ == end_, "sparse positions: ", end_ - at_, " bytes are left after the last value");
}

std::vector<std::int64_t> decode_positions(std::span<const std::uint8_t> stream, std::int64_t count,
                                           std::int64_t numel) {
  PositionReader reader(stream.data(), static_cast<std::int64_t>(stream.size()), numel);
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < count; ++i) out.push_back(reader.next());
  reader.finish();
  return out;
}

}  // namespace tessera
