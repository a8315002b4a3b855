// Random damage to valid files: a reader either throws Error or returns what the bytes say.
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

#include "core/files/atomic_file.h"
#include "core/files/checkpoint.h"
#include "core/files/json_io.h"
#include "core/files/safetensors.h"
#include "core/rng.h"
#include "tests/malformed/safetensors_cases.h"

namespace tessera {
namespace {

std::vector<std::string> valid_files() {
  TensorMap tensors = {{"fc.weight.indices", Tensor(DType::u8, {13})},
                       {"fc.weight.entries", Tensor::full({1, 4}, 2)},
                       {"fc.bias", Tensor::full({3}, 1)},
                       {"n", Tensor::from<std::int64_t>({5}, {})},
                       {"half", Tensor(DType::bf16, {2, 3})},
                       {"none", Tensor(DType::s8, {0, 4})}};
  return {make_safetensors({}).content(), make_safetensors(tensors).content(),
          make_safetensors(tensors, {{"format", "pt"}, {"a", "b\n"}}).content(),
          testing::safetensors_file(
              "{ \"h\" : {\"shape\":[2,2],\"data_offsets\":[8,16],\"dtype\":\"F16\"},\n"
              "\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}  ",
              16)};
}

// Pieces that matter to a reader of the format.
const std::vector<std::string> kPieces = [] {
  std::vector<std::string> out = {std::string(1, '\0')};
  std::istringstream words(
      "{ } [ ] , : \" \\ \\u0000 0 -1 1e99 4294967296 9223372036854775807 18446744073709551616 "
      "null true \"dtype\": \"shape\": \"data_offsets\": \"__metadata__\": F16 F64 F32 I64 BF16 U8 "
      "\xff \xc3 [0,0] [[[[[[ {\"a\":{\"a\":{");
  for (std::string word; words >> word;) out.push_back(word);
  return out;
}();

std::string mutate(std::string bytes, Rng& rng, bool framed = true) {
  for (std::uint64_t changes = 1 + rng.below(4); changes > 0; --changes) {
    const auto at = static_cast<std::size_t>(rng.below(bytes.size() + 1));
    const auto some = static_cast<std::size_t>(rng.below(12));
    switch (rng.below(8)) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << rng.below(8)));
        break;
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<char>(rng.below(256));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, some);
        break;
      case 4:
        bytes.insert(at, kPieces[rng.below(kPieces.size())]);
        break;
      case 5: {
        const std::string& piece = kPieces[rng.below(kPieces.size())];
        bytes.replace(at, std::min(piece.size(), bytes.size() - at), piece);
        break;
      }
      case 6:
        bytes.insert(at, bytes.substr(rng.below(bytes.size() + 1), some));
        break;
      case 7:
        if (at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9') {
          bytes[at] = static_cast<char>('0' + rng.below(10));
        }
        break;
    }
    // Mostly keep the length right, or few mutants would get past the first check.
    const auto brace = bytes.rfind('}');
    if (framed && bytes.size() >= 8 && brace != std::string::npos && brace >= 8 &&
        rng.below(4) != 0) {
      std::uint64_t length = brace - 7;
      while (8 + length < bytes.size() && bytes[8 + length] == ' ') ++length;
      std::memcpy(bytes.data(), &length, 8);
    }
  }
  return bytes;
}

TEST(SafetensorsFuzz, ErrorOrValidLoad) {
  const auto valid = valid_files();
  const auto malformed = testing::malformed_safetensors();
  Rng rng(20240601, stable_id("safetensors"));
  int loaded = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string& file = rng.below(4) == 0 ? malformed[rng.below(malformed.size())].bytes
                                                : valid[rng.below(valid.size())];
    if (file.size() > 1000) continue;
    const std::string bytes = mutate(file, rng);
    Safetensors read;
    try {
      read = parse_safetensors(bytes, "fuzz");
    } catch (const Error& error) {
      const std::string what = error.what();
      EXPECT_TRUE(what.starts_with("fuzz: ")) << what;
      EXPECT_EQ(what.find('\n'), std::string::npos) << what;
      EXPECT_LT(what.size(), 500u) << what;
      ++refused;
      continue;
    }
    ++loaded;
    // What was read can be written, and reads back the same.
    const auto again =
        parse_safetensors(make_safetensors(read.tensors, read.metadata).content(), "again");
    EXPECT_EQ(again.metadata, read.metadata);
    ASSERT_EQ(again.tensors.size(), read.tensors.size());
    for (const auto& [name, tensor] : read.tensors) {
      EXPECT_TRUE(equal_bits(tensor, again.tensors.at(name)));
    }
  }
  // Both ways out are taken often, so the mutations are neither too wild nor too tame.
  EXPECT_GT(loaded, 500);
  EXPECT_GT(refused, 5000);
}

TEST(SafetensorsFuzz, DamagedCheckpointsAreRefused) {
  State state;
  state.set("w", Tensor::full({4, 4}, 0.5f));
  state.set("moment", Tensor::full({4, 4}, 0.25f));
  const auto path = std::filesystem::path(::testing::TempDir()) / "tessera_fuzz_checkpoint";
  save_checkpoint(path, state, {.epoch = 1, .step = 10, .seed = 3, .config = {{"lr", "1"}}});
  const std::string good = read_file(path);
  std::filesystem::remove(path);
  EXPECT_TRUE(equal_bits(parse_checkpoint(good, "good").state, state));
  Rng rng(7, stable_id("checkpoint"));
  for (int i = 0; i < 5000; ++i) {
    const std::string bad = mutate(good, rng);
    if (bad == good) continue;
    EXPECT_THROW(parse_checkpoint(bad, "bad"), Error);
  }
}

TEST(JsonFuzz, ErrorOrValue) {
  const std::string good =
      R"({"format":"tessera.graph","nodes":[{"id":0,"op":"param","type":"u8[4]","x":[1,-2.5e3]}]})";
  Rng rng(9, stable_id("json"));
  for (int i = 0; i < 20000; ++i) {
    const std::string bytes = mutate(good, rng, false);
    try {
      const Json json = parse_json(bytes, "fuzz", {.max_depth = 8});
      EXPECT_EQ(parse_json(json_text(json), "again"), json);
    } catch (const Error& error) {
      EXPECT_TRUE(std::string_view(error.what()).starts_with("fuzz: byte ")) << error.what();
    }
  }
}

}  // namespace
}  // namespace tessera
