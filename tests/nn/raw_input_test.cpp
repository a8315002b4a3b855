// A model that carries its preprocessing gives, on raw values, what it gave on prepared ones.
#include "nn/raw_input.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "datasets/batches.h"
#include "datasets/synthetic_digits.h"
#include "nn/classification.h"
#include "nn/conv.h"
#include "nn/evaluator.h"
#include "ops/load.h"
#include "quant/pack/harden.h"
#include "tests/error_of.h"
#include "tests/fill_xy.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;
using tessera::testing::fill_xy;

// To rounding: a program may keep a product exact until the difference is taken.
void expect_near(const Tensor& got, const Tensor& expected) {
  ASSERT_EQ(got.shape(), expected.shape());
  for (std::int64_t i = 0; i < got.numel(); ++i)
    EXPECT_NEAR(element(got, i), element(expected, i), 1e-5) << i;
}

TEST(RawInput, AModelOfDigitsNeedsNoTrainingImages) {
  const auto digits = datasets::synthetic_digits({.train = 200, .test = 64});
  const auto prepared = datasets::Preprocess::minus_mean(digits.train);
  const Sequential net{Linear{784, 20}, Tanh{}, Linear{20, 10}};
  const Model model = initial_model(net, {784});
  const auto path = std::filesystem::path(::testing::TempDir()) / "tessera_raw.json";
  save(with_raw_input(model, prepared.scale(), prepared.shift()), path);
  const Model raw = load(path);
  EXPECT_EQ(input_name(model.graph), "x");
  EXPECT_EQ(input_name(raw.graph), "raw");
  // The mean image and nothing more: 1/255 is a constant.
  EXPECT_EQ(raw.state.get("preprocess.shift").numel(), 784);
  EXPECT_FALSE(raw.state.has("preprocess.scale"));
  EXPECT_EQ(quant::size_report(raw).bytes(), quant::size_report(model).bytes() + 4 * 784);

  const datasets::Batches with(digits.test, prepared, {.shuffle = false}),
      without(digits.test, datasets::Preprocess::none(784), {.shuffle = false});
  Tensor x(DType::f32, {64, 784}), pixels(DType::f32, {64, 784}), y(DType::s32, {64});
  fill_xy(with, -1, 0, x, y);
  fill_xy(without, -1, 0, pixels, y);
  EXPECT_EQ(pixels.span<float>()[400],
            static_cast<float>(digits.test.images.span<std::uint8_t>()[400]));
  const auto expected = compile(model, {.batch = 64}).run({{"x", x}}).at("logits");
  const auto got = compile(raw, {.batch = 64}).run({{"raw", pixels}}).at("logits");
  expect_near(got, expected);

  State a = model.state.clone(), b = raw.state.clone();
  const auto task = std::make_shared<Classification>(Shape{784}, 10);
  const Evaluation plain = Evaluator(clone(model.graph), task)(a, with),
                   carried = Evaluator(clone(raw.graph), task)(b, without);
  EXPECT_EQ(carried.value("correct"), plain.value("correct"));
  EXPECT_NEAR(carried.loss(), plain.loss(), 1e-6);
}

TEST(RawInput, MomentsOfChannelsTakeAValueEach) {
  const Sequential net{Conv2d{3, 4, 3, {.padding = 1}}, Flatten{}, Linear{4 * 6 * 5, 2}};
  const Model model = initial_model(net, {3, 6, 5});
  const float mean[] = {0.4f, 0.5f, 0.3f}, std[] = {0.2f, 0.25f, 0.3f};
  const auto prepared = datasets::Preprocess::standard(3 * 6 * 5, mean, std);
  const Model raw = with_raw_input(model, prepared.scale(), prepared.shift());
  EXPECT_EQ(raw.state.get("preprocess.scale").shape(), Shape({3, 1, 1}));
  EXPECT_EQ(raw.state.get("preprocess.shift").shape(), Shape({3, 1, 1}));
  Tensor images(DType::u8, {2, 3, 6, 5});
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.span<std::uint8_t>()[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(7 * i);
  Tensor x(DType::f32, {2, 3, 6, 5});
  const Tensor prepared_images = prepared.apply(images);
  std::copy_n(prepared_images.span<float>().begin(), x.numel(), x.span<float>().begin());
  const auto expected = compile(model, {.batch = 2}).run({{"x", x}}).at("logits");
  const auto got = compile(raw, {.batch = 2}).run({{"raw", images.to(DType::f32)}}).at("logits");
  expect_near(got, expected);
}

TEST(RawInput, RefusesWhatDoesNotFit) {
  const Model model = initial_model(Linear{4, 2}, {4});
  const Tensor four = Tensor::full({4}, 0.5f), three = Tensor::full({3}, 0.5f);
  EXPECT_EQ(error_of([&] { with_raw_input(model, three, four); }),
            "[raw input] preprocess.scale has 3 values, a sample 4");
  const Model raw = with_raw_input(model, four, four);
  EXPECT_EQ(error_of([&] { with_raw_input(raw, four, four); }),
            "[raw input] the model has no input 'x'");
  Graph other(model.graph.ops());
  other.set_output("y", other.input("z", f32({1})));
  EXPECT_EQ(error_of([&] { input_name(other); }), "the graph has no input 'x' and no input 'raw'");
}

}  // namespace
}  // namespace tessera::nn
