// Batches of named fields, and what does not fit.
#include "core/fields.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/error_of.h"

namespace tessera {
namespace {

using testing::error_of;

const std::vector<Field> kFields = {{"x", DType::f32, {2, 3}}, {"y", DType::s32, {}, 4}};

TEST(Fields, ABatchHasTheTypesOfItsFields) {
  const TensorMap batch = batch_of(kFields, 5);
  EXPECT_EQ(batch.at("x").text_type(), "f32[5,2,3]");
  EXPECT_EQ(batch.at("y").text_type(), "s32[5]");
  EXPECT_EQ(batch_size(batch, kFields, "here"), 5);
  EXPECT_EQ(kFields[0].type().text(), "f32[batch,2,3]");
  EXPECT_EQ(listed(kFields), "x f32[2,3], y s32[]");
  EXPECT_EQ(find_field(kFields, "z"), nullptr);
}

TEST(Fields, WhatDoesNotFitIsNamed) {
  const auto size = [](TensorMap batch) { return batch_size(batch, kFields, "here"); };
  EXPECT_EQ(error_of([&] { size({}); }),
            "here: expected a batch of some of x f32[2,3], y s32[], got nothing");
  EXPECT_EQ(error_of([&] {
              size({{"z", Tensor(DType::f32, {5})}});
            }),
            "here: has no field 'z', but x f32[2,3], y s32[]");
  EXPECT_EQ(error_of([&] {
              size({{"x", Tensor(DType::f32, {5, 3, 2})}});
            }),
            "here: expected 'x' of n samples x f32[2,3], got f32[5,3,2]");
  EXPECT_EQ(error_of([&] {
              size({{"y", Tensor(DType::f32, {5})}});
            }),
            "here: expected 'y' of n samples y s32[], got f32[5]");
  EXPECT_EQ(error_of([&] {
              size({{"x", Tensor(DType::f32, {5, 2, 3})}, {"y", Tensor(DType::s32, {4})}});
            }),
            "here: 'y' has 4 samples, another field 5");
}

TEST(Fields, RowsAreSharedAndCopied) {
  TensorMap all = batch_of(kFields, 4);
  for (std::int32_t i = 0; i < 4; ++i)
    all.at("y").span<std::int32_t>()[static_cast<std::size_t>(i)] = i;
  slice(all, 1, 2).at("y").span<std::int32_t>()[0] = 9;
  EXPECT_EQ(all.at("y").to_vector<std::int32_t>(), (std::vector<std::int32_t>{0, 9, 2, 3}));
  TensorMap labels = {{"y", Tensor(DType::s32, {3})}};
  copy_rows(all, 1, labels);
  EXPECT_EQ(labels.at("y").to_vector<std::int32_t>(), (std::vector<std::int32_t>{9, 2, 3}));
  EXPECT_NE(error_of([&] { copy_rows(all, 2, labels); }), "no error");  // too few
  TensorMap other = {{"z", Tensor(DType::s32, {1})}};
  EXPECT_EQ(error_of([&] { copy_rows(all, 0, other); }), "there is no field 'z' to copy");
}

}  // namespace
}  // namespace tessera
