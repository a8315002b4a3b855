// Decompression of file contents in memory. Private to the library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera {

// Raw deflate (RFC 1951) that must unpack to exactly `bytes` bytes. Throws Error "PLACE: ...".
std::string inflate(std::string_view packed, std::int64_t bytes, const std::string& place);

inline constexpr std::string_view kXzMagic(
    "\xFD"
    "7zXZ\0",
    6);
// The content of an .xz file, at most `max_bytes`.
std::string unpack_xz(std::string_view packed, std::int64_t max_bytes, const std::string& file);

std::uint32_t crc32(std::string_view bytes);

}  // namespace tessera
