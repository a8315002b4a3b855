#include "datasets/augment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "core/parallel.h"
#include "datasets/batches.h"
#include "tests/datasets/temp_dir.h"
#include "tests/fill_xy.h"

namespace tessera::datasets {
namespace {

using tessera::testing::fill_xy;
using tessera::testing::sample_of;
using ::testing::HasSubstr;

constexpr std::int64_t kH = 5, kW = 7, kC = 2, kValues = kC * kH * kW;

std::vector<float> image() {
  std::vector<float> out;
  for (int i = 0; i < kValues; ++i) out.push_back(static_cast<float>(i + 1));
  return out;
}

// Pixel by pixel, after the definition.
std::vector<float> plain(const Augment& options, const Augmentation& a,
                         const std::vector<float>& in) {
  std::vector<float> out(in.size());
  auto mirror = [](std::int64_t i, std::int64_t n) {
    return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i;
  };
  for (std::int64_t c = 0; c < kC; ++c) {
    for (std::int64_t y = 0; y < kH; ++y) {
      for (std::int64_t x = 0; x < kW; ++x) {
        std::int64_t from_y = y + a.dy, from_x = (a.flip ? kW - 1 - x : x) + a.dx;
        if (options.border == Augment::Border::reflect) {
          from_y = mirror(from_y, kH);
          from_x = mirror(from_x, kW);
        }
        const bool inside = from_y >= 0 && from_y < kH && from_x >= 0 && from_x < kW;
        const std::int64_t top = a.cut_y - options.cutout / 2, left = a.cut_x - options.cutout / 2;
        const bool cut =
            y >= top && y < top + options.cutout && x >= left && x < left + options.cutout;
        out[static_cast<std::size_t>((c * kH + y) * kW + x)] =
            inside && !cut ? in[static_cast<std::size_t>((c * kH + from_y) * kW + from_x)] : 0.0f;
      }
    }
  }
  return out;
}

TEST(AugmentTest, EqualsThePlainDefinition) {
  for (const auto border : {Augment::Border::zeros, Augment::Border::reflect}) {
    for (const std::int64_t cutout : {0, 1, 2, 3, 5}) {
      const Augment options{.pad = 3, .border = border, .flip = 0.5, .cutout = cutout};
      const Augmenter augmenter(options, {kC, kH, kW}, 1);
      for (std::int64_t index = 0; index < 300; ++index) {
        const Augmentation a = augmenter.draw(0, index);
        std::vector<float> out(kValues, -1.0f);
        augmenter.apply(a, image().data(), out.data());
        ASSERT_EQ(out, plain(options, a, image())) << index;
      }
    }
  }
}

TEST(AugmentTest, NothingToDoLeavesTheImage) {
  const Augmenter augmenter({.flip = 1e-12}, {kC, kH, kW}, 1);
  std::vector<float> out(kValues);
  augmenter.apply(augmenter.draw(3, 4), image().data(), out.data());
  EXPECT_EQ(out, image());
}

TEST(AugmentTest, EveryDrawIsEquallyLikely) {
  const Augmenter augmenter({.pad = 4, .flip = 0.25, .cutout = 8}, {3, 32, 32}, 7);
  std::map<std::int64_t, int> dy, dx, cut_y, cut_x;
  int flips = 0;
  constexpr int kDraws = 36000;
  for (int i = 0; i < kDraws; ++i) {
    const Augmentation a = augmenter.draw(i % 10, i / 10);
    ++dy[a.dy];
    ++dx[a.dx];
    ++cut_y[a.cut_y];
    ++cut_x[a.cut_x];
    flips += a.flip;
  }
  auto expect_even = [](const std::map<std::int64_t, int>& counts, std::int64_t first,
                        std::size_t n) {
    ASSERT_EQ(counts.size(), n);
    EXPECT_EQ(counts.begin()->first, first);
    const double each = kDraws / static_cast<double>(n);
    for (const auto& [value, count] : counts) EXPECT_NEAR(count, each, 5 * std::sqrt(each));
  };
  expect_even(dy, -4, 9);
  expect_even(dx, -4, 9);
  expect_even(cut_y, 0, 32);
  expect_even(cut_x, 0, 32);
  EXPECT_NEAR(flips, kDraws / 4.0, 5 * std::sqrt(kDraws * 0.25 * 0.75));
}

TEST(AugmentTest, DrawsDependOnSeedEpochAndIndexOnly) {
  const Augment options{.pad = 4, .flip = 0.5, .cutout = 8};
  const Augmenter a(options, {3, 32, 32}, 1), same(options, {3, 32, 32}, 1),
      other(options, {3, 32, 32}, 2);
  auto all = [](const Augmenter& augmenter, std::int64_t epoch) {
    std::vector<std::int64_t> out;
    for (std::int64_t i = 0; i < 50; ++i) {
      const Augmentation d = augmenter.draw(epoch, i);
      out.insert(out.end(), {d.dy, d.dx, d.flip, d.cut_y, d.cut_x});
    }
    return out;
  };
  EXPECT_EQ(all(a, 3), all(same, 3));
  EXPECT_NE(all(a, 3), all(a, 4));
  EXPECT_NE(all(a, 3), all(other, 3));
}

Dataset noise(std::int64_t n) {
  Dataset out{"noise", Tensor(DType::u8, {n, 3, 32, 32}), Tensor(DType::s32, {n}), 10};
  std::uint32_t state = 1;
  for (auto& v : out.images.span<std::uint8_t>())
    v = static_cast<std::uint8_t>((state = state * 1664525u + 1) >> 24);
  for (std::int64_t i = 0; i < n; ++i)
    out.labels.span<std::int32_t>()[static_cast<std::size_t>(i)] =
        static_cast<std::int32_t>(i % 10);
  return out;
}

TEST(AugmentTest, BatchesAugmentForAnyThreadCountAndRange) {
  const Dataset data = noise(70);
  const Preprocess normalize = Preprocess::standard(data);
  const Augment options{.pad = 4, .flip = 0.5, .cutout = 8};
  const Batches plain_batches(data, normalize, {.seed = 3});
  const Batches batches(data, normalize, {.seed = 3, .augment = options});
  EXPECT_EQ(sample_of(batches), Shape({3, 32, 32}));
  const Augmenter augmenter(options, {3, 32, 32}, 3);
  const int threads = num_threads();
  for (const std::int64_t epoch : {0, 5}) {
    const auto order = epoch_order(70, 3, epoch);
    Tensor x(DType::f32, {70, 3, 32, 32}), y(DType::s32, {70}), expected = x.clone();
    fill_xy(plain_batches, epoch, 0, x, y);
    for (std::int64_t i = 0; i < 70; ++i) {
      augmenter.apply(augmenter.draw(epoch, order[static_cast<std::size_t>(i)]),
                      x.span<float>().data() + i * 3072, expected.span<float>().data() + i * 3072);
    }
    for (const int n : {1, 2, 5}) {
      set_num_threads(n);
      fill_xy(batches, epoch, 0, x, y);
      EXPECT_TRUE(equal_bits(x, expected));
      Tensor some = x.slice(0, 9), some_y = y.slice(0, 9);
      fill_xy(batches, epoch, 31, some, some_y);
      EXPECT_TRUE(equal_bits(some, expected.slice(31, 40)));
    }
    set_num_threads(threads);
  }
  Tensor x(DType::f32, {70, 3, 32, 32}), y(DType::s32, {70});
  fill_xy(batches, -1, 0, x, y);
  EXPECT_TRUE(equal_bits(x.reshape({70, 3072}), normalize.apply(data.images)));
}

TEST(AugmentTest, TextAndErrors) {
  EXPECT_EQ(Augment{}.text(), "none");
  EXPECT_EQ(
      (Augment{.pad = 4, .border = Augment::Border::reflect, .flip = 0.5, .cutout = 8}).text(),
      "crop 4 reflect, flip 0.5, cutout 8");
  auto message = [](const Augment& options, const Shape& shape = {3, 32, 32}) {
    return error_of([&] { Augmenter(options, shape, 1); });
  };
  EXPECT_EQ(message({}, {}), "");
  EXPECT_THAT(message({.pad = 32}),
              HasSubstr("pad: expected 0 to 31 for images [3,32,32], got 32"));
  EXPECT_THAT(message({.pad = -1}), HasSubstr("got -1"));
  EXPECT_THAT(message({.flip = 1.5}), HasSubstr("flip: expected a probability, got 1.5"));
  EXPECT_THAT(message({.flip = std::nan("")}), HasSubstr("flip: expected a probability"));
  EXPECT_THAT(message({.cutout = 33}), HasSubstr("cutout: expected 0 to 32"));
  EXPECT_THAT(message({.cutout = -1}), HasSubstr("got -1"));
  EXPECT_THAT(message({.pad = 1}, {784}), HasSubstr("expected images [h,w] or [c,h,w], got [784]"));
}

TEST(ChannelMomentsTest, EqualAPlainSumAndNormalize) {
  const Dataset data = noise(130);
  const ChannelMoments moments = channel_moments(data);
  ASSERT_EQ(moments.mean.size(), 3u);
  const auto x = data.images.span<std::uint8_t>();
  for (std::size_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (i / 1024 % 3 != c) continue;
      const double v = x[i] / 255.0;
      sum += v;
      squares += v * v;
    }
    const double n = 130 * 1024, mean = sum / n;
    EXPECT_NEAR(static_cast<double>(moments.mean[c]), mean, 1e-7);
    EXPECT_NEAR(static_cast<double>(moments.std[c]), std::sqrt(squares / n - mean * mean), 1e-7);
  }
  // The normalized set has mean 0 and deviation 1 in each channel.
  const Tensor y = Preprocess::standard(data).apply(data.images);
  std::array<double, 3> sums{}, squares{};
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto v = static_cast<double>(y.span<float>()[i]);
    sums[i / 1024 % 3] += v;
    squares[i / 1024 % 3] += v * v;
  }
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(sums[c] / (130 * 1024), 0, 1e-6);
    EXPECT_NEAR(squares[c] / (130 * 1024), 1, 1e-5);
  }
  EXPECT_THAT(error_of([] { channel_moments({"none", {}, {}, 10}); }), HasSubstr("none"));
  Dataset flat = noise(2);
  for (auto& v : flat.images.span<std::uint8_t>()) v = 7;
  EXPECT_THAT(error_of([&] { Preprocess::standard(flat); }), HasSubstr("positive"));
}

}  // namespace
}  // namespace tessera::datasets
