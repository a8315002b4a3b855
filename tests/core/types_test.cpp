// dtypes, shapes, encodings, tensors, randomness.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/encoding.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

using testing::error_of;

TEST(Shape, BindsTheBatchSymbol) {
  const Shape shape{kBatch, 3, Dim::symbolic(2)};
  EXPECT_EQ(shape.text(), "[batch,3,2*batch]");
  EXPECT_EQ(shape.bind(5), Shape({5, 3, 10}));
  EXPECT_EQ(parse_shape(shape.text()), shape);
  EXPECT_EQ(Shape({kBatch, 4}).numel_dim(), Dim::symbolic(4));
  EXPECT_THROW(shape.numel_dim(), Error);  // batch * batch
}

TEST(Shape, ParserRefusesNonsense) {
  for (const char* text :
       {"", "[", "3,4", "[3,]", "[-1]", "[a]", "[3;4]", "[99999999999999999999]"}) {
    EXPECT_THROW(parse_shape(text), Error) << text;
  }
}

TEST(Shape, BroadcastsAsNumpy) {
  EXPECT_EQ(broadcast({kBatch, 1, 5}, {4, 1}, "add"), Shape({kBatch, 4, 5}));
  EXPECT_EQ(error_of([] {
              broadcast({2, 3}, {4}, "add");
            }),
            "[add] shapes [2,3] and [4] do not broadcast");
  EXPECT_TRUE(broadcasts_to({1, 5}, {3, 2, 5}));
  EXPECT_FALSE(broadcasts_to({3, 5}, {1, 5}));
}

TEST(Encoding, TextFormReadsBack) {
  for (const char* text :
       {"f32[512,784]", "f32[512,784]@cb4", "f32[512,784]@cb1:bf16", "f32[512,784]@cb8:s8/srow",
        "f32[512,784]@cb3/g64s32v2", "bf16[batch,2]", "s64[]", "f32[3,2]@panels:128<cb2/g1>"}) {
    EXPECT_EQ(parse_type(text).text(), text);
  }
  for (const char* text :
       {"f32", "f33[2]", "f32[2]x", "f32[2]@", "f32[2]@cb0", "f32[2]@cb9", "f32[2]@cb4/q3",
        "f32[2,3]@cb2/v2", "f32[batch,4]@cb2", "f32[4]@cb4/g"}) {
    EXPECT_THROW(parse_type(text), Error) << text;
  }
}

TEST(Encoding, CountsEveryByte) {
  const CodebookFormat format{.bits = 3, .group_rows = 4, .scale_block = 5};
  const Shape shape{10, 7};
  const auto planes = Encoding::codebook(format, 6).planes(DType::f32, shape);
  ASSERT_EQ(planes.size(), 3u);
  EXPECT_EQ(planes[0].bytes(), (70 * 3 + 7) / 8);
  EXPECT_EQ(planes[1].shape, Shape({3, 6}));  // the last group is short
  EXPECT_EQ(planes[2].shape, Shape({10, 2}));
}

TEST(Encoding, IndexStreamIsLeastSignificantBitFirst) {
  const std::uint8_t stream[] = {0b10110101, 0b01001110, 0b1};
  EXPECT_EQ(index_at(stream, 1, 0), 1u);
  EXPECT_EQ(index_at(stream, 1, 1), 0u);
  EXPECT_EQ(index_at(stream, 3, 0), 0b101u);
  EXPECT_EQ(index_at(stream, 3, 2), 0b010u);  // bits 6 and 7, then bit 0 of the next byte
  EXPECT_EQ(index_at(stream, 8, 1), 0b01001110u);
}

TEST(Tensor, CreateSlicePrintCopy) {
  Tensor t = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2});
  EXPECT_EQ(t.text(), "f32[3,2] [[1, 2],\n [3, 4],\n [5, 6]]");
  Tensor rows = t.slice(1, 3);
  EXPECT_EQ(rows.to_vector<float>(), (std::vector<float>{3, 4, 5, 6}));
  rows.span<float>()[0] = 30;
  EXPECT_EQ(t.span<float>()[2], 30);  // a slice shares storage
  Tensor copy = t.clone();
  copy.span<float>()[0] = 7;
  EXPECT_EQ(t.span<float>()[0], 1);
  EXPECT_EQ(t.reshape({6}).shape(), Shape({6}));
  EXPECT_THROW(t.reshape({5}), Error);
  EXPECT_THROW(t.slice(2, 4), Error);
  EXPECT_THROW(t.span<std::int32_t>(), Error);
  EXPECT_EQ(error_of([&] { t.item(); }), "item() needs one element, got f32[3,2]");
}

TEST(Tensor, ConvertsDtypes) {
  const Tensor t = Tensor::from(std::vector<float>{1.5f, -2.25f, 3.0f}, {3});
  EXPECT_EQ(t.to(DType::s32).to_vector<std::int32_t>(), (std::vector<std::int32_t>{1, -2, 3}));
  EXPECT_TRUE(equal_bits(t.to(DType::bf16).to(DType::f32), t));  // representable
  EXPECT_EQ(bf16_from_f32(1.00390625f), 0x3f80);                 // a tie goes to the even neighbour
  EXPECT_TRUE(std::isnan(f32_from_bf16(bf16_from_f32(std::nanf("")))));
}

TEST(Tensor, AllocationsAreCounted) {
  const auto before = allocation_count().live_bytes;
  {
    Tensor t(DType::f32, {1000});
    EXPECT_EQ(allocation_count().live_bytes - before, 4032);  // whole cache lines
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % kAlignment, 0u);
  }
  EXPECT_EQ(allocation_count().live_bytes, before);
}

TEST(Rng, PhiloxMatchesTheReference) {
  // Random123's known-answer test for philox4x32-10: all zeros, and all ones.
  EXPECT_EQ(philox(0, 0, 0),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ull, ~0ull, ~0ull),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Rng, BelowCoversItsRange) {
  Rng rng(3, 4);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(rng.below(7));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
}

}  // namespace
}  // namespace tessera
