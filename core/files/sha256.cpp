#include "core/files/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/files/sha256_blocks.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tessera {

namespace {

void take(std::uint32_t* state, const std::byte* data, std::int64_t blocks) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(data);
#if defined(__x86_64__)
  static const bool fast = has_sha_instructions();
  if (fast) return tessera_sha256_x86_sha(state, bytes, blocks);
#endif
  tessera_sha256_plain(state, bytes, blocks);
}

}  // namespace

bool has_sha_instructions() {
#if defined(__x86_64__)
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 9 & 1) || !(c >> 19 & 1)) return false;  // SSE4.1
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
#else
  return false;
#endif
}

extern "C" void tessera_sha256_plain(uint32_t* state, const unsigned char* data, int64_t blocks) {
  using std::rotr;
  for (; blocks > 0; --blocks, data += 64) {
    std::uint32_t w[64];
    for (int i = 0; i < 16; ++i) {
      const unsigned char* p = data + 4 * i;
      w[i] =
          std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
    }
    for (int i = 16; i < 64; ++i) {
      const std::uint32_t x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + (rotr(x, 7) ^ rotr(x, 18) ^ x >> 3) + w[i - 7] +
             (rotr(y, 17) ^ rotr(y, 19) ^ y >> 10);
    }
    std::uint32_t s[8];
    std::copy(state, state + 8, s);
    for (int i = 0; i < 64; ++i) {
      const std::uint32_t a = s[0], e = s[4];
      const std::uint32_t one = s[7] + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) +
                                ((e & s[5]) ^ (~e & s[6])) + kSha256Rounds[i] + w[i];
      const std::uint32_t two =
          (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
      std::copy_backward(s, s + 7, s + 8);
      s[4] += one;
      s[0] = one + two;
    }
    for (int i = 0; i < 8; ++i) state[i] += s[i];
  }
}

void Sha256::update(std::span<const std::byte> bytes) {
  const std::size_t begun = bytes_ % kBlock;
  bytes_ += bytes.size();
  if (begun > 0) {
    const std::size_t n = std::min(bytes.size(), kBlock - begun);
    std::copy_n(bytes.begin(), n, rest_.begin() + begun);
    bytes = bytes.subspan(n);
    if (begun + n < kBlock) return;
    take(state_.data(), rest_.data(), 1);
  }
  const std::size_t whole = bytes.size() / kBlock;
  take(state_.data(), bytes.data(), static_cast<std::int64_t>(whole));
  bytes = bytes.subspan(whole * kBlock);
  std::copy(bytes.begin(), bytes.end(), rest_.begin());
}

std::string Sha256::hex() {
  // A one bit, zeros, and the number of bits, so that the last block is full.
  const std::uint64_t bits = bytes_ * 8;
  std::array<std::byte, 2 * kBlock> end = {std::byte{0x80}};
  const std::size_t begun = bytes_ % kBlock;
  const std::size_t n = (begun + 9 <= kBlock ? kBlock : 2 * kBlock) - begun;
  for (std::size_t i = 0; i < 8; ++i) end[n - 1 - i] = std::byte(bits >> (8 * i) & 0xff);
  update(std::span(end).first(n));
  std::string out;
  for (const std::uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789abcdef"[word >> shift & 15];
  }
  return out;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_hex(std::string_view text) {
  return sha256_hex(std::as_bytes(std::span(text)));
}

}  // namespace tessera
