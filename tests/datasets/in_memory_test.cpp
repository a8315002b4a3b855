#include "datasets/in_memory.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "nn/classification.h"
#include "nn/fit.h"
#include "nn/schedule.h"
#include "tests/accuracy.h"
#include "tests/error_of.h"
#include "tests/fill_xy.h"

namespace tessera::datasets {
namespace {

using tessera::testing::classes_of;
using tessera::testing::fill_index;
using tessera::testing::fill_xy;
using tessera::testing::sample_of;
using testing::error_of;

template <class T>
Tensor counting(const Shape& shape) {
  Tensor out(DTypeOf<T>::value, shape);
  for (std::int64_t i = 0; i < out.numel(); ++i)
    out.span<T>()[static_cast<std::size_t>(i)] = static_cast<T>(i - 3);
  return out;
}

Tensor labels(std::vector<std::int32_t> values) {
  return Tensor::from(values, Shape{static_cast<std::int64_t>(values.size())});
}

template <class T>
void expect_values(bool wraps) {
  const InMemory data(counting<T>({4, 2, 3}), labels({0, 2, 1, 2}));
  EXPECT_EQ(sample_of(data), Shape({2, 3}));
  EXPECT_EQ(data.samples(), 4);
  EXPECT_EQ(classes_of(data), 3);
  Tensor x(DType::f32, {2, 2, 3}), y(DType::s32, {2});
  fill_xy(data, -1, 1, x, y);
  EXPECT_EQ(y.to_vector<std::int32_t>(), (std::vector<std::int32_t>{2, 1}));
  for (std::int64_t i = 0; i < 12; ++i) {
    const auto value = static_cast<float>(i + 6 - 3);
    EXPECT_EQ(x.span<float>()[static_cast<std::size_t>(i)], value) << i;
  }
  fill_xy(data, -1, 0, x, y);
  EXPECT_EQ(x.span<float>()[0], wraps ? 253.0f : -3.0f);
}

TEST(InMemory, GivesValuesOfEveryDtypeAsF32) {
  expect_values<float>(false);
  expect_values<std::int8_t>(false);
  expect_values<std::uint8_t>(true);
  expect_values<std::int32_t>(false);
  const InMemory data(counting<float>({4, 2}).to(DType::bf16), labels({0, 0, 0, 1}));
  Tensor x(DType::f32, {1, 2}), y(DType::s32, {1});
  fill_xy(data, -1, 0, x, y);
  EXPECT_EQ(x.span<float>()[0], -3);
}

TEST(InMemory, EpochsAreOrdersOfTheirOwnThatPositionsTell) {
  const std::int64_t n = 50;
  std::vector<std::int32_t> y(n);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<std::int32_t>(i);
  const InMemory data(counting<std::int32_t>({n, 1}), labels(y)),
      again(counting<std::int32_t>({n, 1}), labels(y));
  const auto epoch = [&](const InMemory& source, std::int64_t e) {
    Tensor values(DType::f32, {n, 1}), out(DType::s32, {n}), index(DType::s32, {n});
    fill_xy(source, e, 0, values, out);
    fill_index(source, e, 0, index);
    EXPECT_TRUE(equal_bits(out, index));  // the label of a sample is its place
    for (std::size_t i = 0; i < y.size(); ++i)
      EXPECT_EQ(values.span<float>()[i], static_cast<float>(out.span<std::int32_t>()[i] - 3));
    return out.to_vector<std::int32_t>();
  };
  const auto first = epoch(data, 0), second = epoch(data, 1);
  EXPECT_NE(first, second);
  EXPECT_EQ(epoch(again, 0), first);
  EXPECT_EQ(std::set<std::int32_t>(first.begin(), first.end()).size(), y.size());
  EXPECT_EQ(epoch(data, -1), y);
  const InMemory ordered(counting<std::int32_t>({n, 1}), labels(y), {.shuffle = false});
  EXPECT_EQ(epoch(ordered, 3), y);
}

TEST(InMemory, RefusesWhatDoesNotFit) {
  const Tensor x = counting<float>({3, 2});
  EXPECT_EQ(error_of([&] {
              InMemory(x, labels({0, 1}));
            }),
            "[in memory] expected x [2, ...] for as many labels, got f32[3,2]");
  EXPECT_EQ(error_of([&] {
              InMemory(x, labels({0, -1, 1}));
            }),
            "[in memory] expected labels in [0, 2), got -1 at position 1");
  EXPECT_EQ(error_of([&] {
              InMemory(x, labels({0, 1, 2}), {.name = "mine", .classes = 2});
            }),
            "[mine] expected labels in [0, 2), got 2 at position 2");
  EXPECT_NE(error_of([&] {
              InMemory(x.to(DType::s64), labels({0, 1, 2}));
            }).find("s64[3,2]"),
            std::string::npos);
  EXPECT_NE(error_of([&] { InMemory(x, x); }).find("expected at least one label"),
            std::string::npos);
  const InMemory data(x, labels({0, 1, 1}));
  Tensor out(DType::f32, {2, 2}), y(DType::s32, {2});
  EXPECT_NE(error_of([&] { fill_xy(data, 0, 2, out, y); }).find("samples 2 to 4"),
            std::string::npos);
}

// From plain tensors to a trained network: the sign of the first value.
TEST(InMemory, Trains) {
  const std::int64_t n = 400;
  Tensor x(DType::s8, {n, 4}), y(DType::s32, {n});
  Rng rng(1, 0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < 4; ++j)
      x.span<std::int8_t>()[static_cast<std::size_t>(4 * i + j)] =
          static_cast<std::int8_t>(static_cast<int>(rng.below(9)) - 4);
    y.span<std::int32_t>()[static_cast<std::size_t>(i)] =
        x.span<std::int8_t>()[static_cast<std::size_t>(4 * i)] > 0;
  }
  const InMemory data(x, y);
  nn::Trainer trainer = nn::classifier(std::make_shared<nn::Sequential>(nn::Linear(4, 2)), {4}, 2);
  nn::fit(trainer, data, {.epochs = 30, .lr = nn::constant(0.05)});
  EXPECT_GT(tessera::testing::accuracy(trainer.evaluate(data)), 0.95);
}

}  // namespace
}  // namespace tessera::datasets
