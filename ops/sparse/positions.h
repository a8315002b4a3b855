// The places of a sparse tensor's values as bytes: the number of zeros before each value, in
// row-major order. A gap below 255 is one byte; a longer one is the byte 255 and then gap - 255 as
// LEB128 (seven bits a byte, low bits first, the eighth set where more follow). At one value in a
// hundred that is 1.1 bytes a value, at one in a thousand 2.5.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera {

// `positions` ascend strictly, from 0.
std::vector<std::uint8_t> encode_positions(std::span<const std::int64_t> positions);

// Reads a stream without trusting it; every error is an Error that says what is wrong.
class PositionReader {
 public:
  // Positions must be below `numel`.
  PositionReader(const std::uint8_t* stream, std::int64_t bytes, std::int64_t numel)
      : at_(stream), begin_(stream), end_(stream + bytes), numel_(numel) {}

  std::int64_t next();
  // Throws Error when bytes are left.
  void finish() const;

 private:
  std::int64_t take();

  const std::uint8_t *at_, *begin_, *end_;
  std::int64_t numel_, last_ = -1;
};

// All `count` positions of a stream.
std::vector<std::int64_t> decode_positions(std::span<const std::uint8_t> stream, std::int64_t count,
                                           std::int64_t numel);

}  // namespace tessera
