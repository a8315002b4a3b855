#include "core/files/sha256.h"

#include <gtest/gtest.h>

#include "core/files/sha256_blocks.h"

namespace tessera {
namespace {

TEST(Sha256Test, KnownValues) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 pieces;
  pieces.update("a");
  pieces.update("");
  pieces.update("bc");
  EXPECT_EQ(pieces.hex(), sha256_hex("abc"));
  // FIPS 180-4: two blocks, and a million of one letter.
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Pieces end anywhere in a block, and so does the padding.
TEST(Sha256Test, PiecesOfAnySize) {
  std::string text(300, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + 1);
  const std::string_view all = text;
  EXPECT_EQ(sha256_hex(all.substr(0, 55)),
            "16fa57a0a3423a715d594516339f36189d6b5f93754a9714fef202616a9fabfe");
  EXPECT_EQ(sha256_hex(all.substr(0, 56)),
            "c37b44e5f1b18554b36966f4f8e08bfbf3164c4b6c10374d12d89850892073c5");
  EXPECT_EQ(sha256_hex(all.substr(0, 64)),
            "66bd4633ed6f71c4ecfa4763bf7ba1c8ec7612de9aa6c0578a7b675207c71e0b");
  for (std::size_t n = 0; n <= all.size(); n += 13) {
    for (const std::size_t piece : {1, 3, 63, 64, 65, 130}) {
      Sha256 hash;
      for (std::size_t at = 0; at < n; at += piece)
        hash.update(all.substr(at, std::min(piece, n - at)));
      EXPECT_EQ(hash.hex(), sha256_hex(all.substr(0, n))) << n << " in pieces of " << piece;
    }
  }
}

#if defined(__x86_64__)
TEST(Sha256Test, InstructionsGiveThePlainBits) {
  if (!has_sha_instructions()) GTEST_SKIP() << "this CPU has no SHA instructions";
  unsigned char data[5 * 64];
  for (std::size_t i = 0; i < sizeof data; ++i) data[i] = static_cast<unsigned char>(i * i + 3);
  std::uint32_t plain[8] = {1, 20, 300, 4000, 50000, 600000, 7000000, 0x80000000}, fast[8];
  std::copy(plain, plain + 8, fast);
  tessera_sha256_plain(plain, data, 5);
  tessera_sha256_x86_sha(fast, data, 5);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(plain[i], fast[i]) << i;
}
#endif

}  // namespace
}  // namespace tessera
