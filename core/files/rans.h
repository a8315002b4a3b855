// Entropy coding of packed indices: range asymmetric numeral systems (Duda, arXiv:1311.2540), order
// 0, with one table of frequencies per plane and 8 interleaved states. docs/format.md describes
// the bytes. Private to the library.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tessera {

// A plane may be at most this many times as large as its coded form, so that a small file cannot
// ask for any amount of memory.
inline constexpr std::int64_t kMaxRansExpansion = 1024;

// The coded form of `count` LSB-first indices of `bits` bits (`plane` is the whole stream, see
// index_at). Nothing when it would not be smaller than the plane, when the plane is more than
// kMaxRansExpansion times as large, or when unused bits of the last byte are set, which the coded
// form does not keep. The same plane gives the same bytes.
std::optional<std::vector<std::uint8_t>> rans_encode(std::span<const std::uint8_t> plane, int bits,
                                                     std::int64_t count);

// Fills `plane` with exactly what rans_encode was given. Trusts nothing: a header that is not of
// these bits and this count, frequencies with another sum, states out of range, words that end
// early or late, states that do not end where the encoder began and unused bits that are set are
// each an Error that starts with `place`.
void rans_decode(std::span<const std::uint8_t> coded, int bits, std::int64_t count,
                 std::span<std::uint8_t> plane, const std::string& place);

}  // namespace tessera
