#include "datasets/subset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "datasets/batches.h"
#include "datasets/imagenet.h"
#include "datasets/prefetch.h"
#include "datasets/synthetic_digits.h"
#include "tests/datasets/pictures.h"
#include "tests/datasets/temp_dir.h"
#include "tests/fill_xy.h"

namespace tessera::datasets {
namespace {

using tessera::testing::classes_of;
using tessera::testing::fill_index;
using tessera::testing::fill_xy;
using tessera::testing::sample_of;
using ::testing::HasSubstr;

struct Filled {
  std::vector<float> x;
  std::vector<std::int32_t> y, at;
  friend bool operator==(const Filled&, const Filled&) = default;
};

Shape with_batch(std::int64_t n, const Shape& sample) {
  Shape out{n};
  for (const Dim dim : sample.dims()) out.push_back(dim);
  return out;
}

// Samples [first, first + n) of an epoch, in batches of 7.
Filled fill(const BatchSource& source, std::int64_t epoch, std::int64_t first, std::int64_t n) {
  Filled out;
  for (std::int64_t at = first; at < first + n; at += 7) {
    const std::int64_t count = std::min<std::int64_t>(7, first + n - at);
    Tensor x(DType::f32, with_batch(count, sample_of(source))), y(DType::s32, {count}),
        index(DType::s32, {count});
    fill_xy(source, epoch, at, x, y);
    fill_index(source, epoch, at, index);
    const auto xs = x.span<float>();
    const auto ys = y.span<std::int32_t>(), is = index.span<std::int32_t>();
    out.x.insert(out.x.end(), xs.begin(), xs.end());
    out.y.insert(out.y.end(), ys.begin(), ys.end());
    out.at.insert(out.at.end(), is.begin(), is.end());
  }
  return out;
}

Filled gather(const IndexedSource& source, std::int64_t epoch, std::vector<std::int32_t> rows) {
  const auto n = static_cast<std::int64_t>(rows.size());
  Tensor x(DType::f32, with_batch(n, sample_of(source))), y(DType::s32, {n});
  TensorMap batch = {{"x", x}, {"y", y}};
  source.gather(epoch, rows, batch);
  return {x.to_vector<float>(), y.to_vector<std::int32_t>(), std::move(rows)};
}

std::shared_ptr<const Batches> digits(std::int64_t n, std::uint64_t seed = 1) {
  const Dataset data = synthetic_digits({.train = n, .test = 1}).train;
  return std::make_shared<const Batches>(data, Preprocess::unit(data.pixels()),
                                         BatchOptions{.seed = seed, .augment = {.pad = 3}});
}

TEST(HoldOutTest, DividesEverySampleOnce) {
  for (const auto& [n, held] : {std::pair{2, 1}, {1000, 1}, {1000, 100}, {1000, 999}}) {
    const HoldOut parts = hold_out(n, held);
    EXPECT_EQ(parts.held.size(), static_cast<std::size_t>(held));
    EXPECT_TRUE(std::is_sorted(parts.rest.begin(), parts.rest.end()));
    EXPECT_TRUE(std::is_sorted(parts.held.begin(), parts.held.end()));
    std::vector<std::int32_t> all = parts.rest, each(static_cast<std::size_t>(n));
    all.insert(all.end(), parts.held.begin(), parts.held.end());
    std::sort(all.begin(), all.end());
    std::iota(each.begin(), each.end(), 0);
    EXPECT_EQ(all, each);
  }
  EXPECT_THAT(error_of([] { hold_out(10, 0); }), HasSubstr("hold 1 to 9 of 10"));
  EXPECT_THAT(error_of([] { hold_out(10, 10); }), HasSubstr("got 10"));
}

TEST(HoldOutTest, IsADrawAndMoreHeldOutAreTheSameAndOthers) {
  const auto few = hold_out(6000, 600).held, more = hold_out(6000, 900).held;
  EXPECT_EQ(few, hold_out(6000, 600).held);
  EXPECT_TRUE(std::includes(more.begin(), more.end(), few.begin(), few.end()));
  // Of a set stored by class, each of ten has its share.
  std::vector<int> by_class(10);
  for (const std::int32_t row : few) ++by_class[static_cast<std::size_t>(row / 600)];
  for (const int n : by_class) EXPECT_NEAR(n, 60, 30);
}

TEST(SubsetTest, IsTheSamplesOfItsRows) {
  const auto all = digits(40);
  const std::vector<std::int32_t> rows = {3, 4, 17, 5, 39, 0, 8, 21, 30};
  const Subset some(all, rows, {.seed = 5});
  EXPECT_EQ(some.samples(), 9);
  EXPECT_EQ(classes_of(some), 10);
  EXPECT_EQ(sample_of(some), sample_of(*all));
  EXPECT_EQ(some.name(), all->name());
  const Filled stored = fill(some, -1, 0, 9), theirs = gather(*all, -1, rows);
  EXPECT_EQ(stored.x, theirs.x);
  EXPECT_EQ(stored.y, theirs.y);
  EXPECT_EQ(stored.at, (std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));

  // An epoch is another order of them, each as the source shows it in that epoch.
  const Filled epoch = fill(some, 2, 0, 9);
  EXPECT_NE(epoch.at, stored.at);
  EXPECT_NE(epoch.at, fill(some, 3, 0, 9).at);
  EXPECT_EQ(epoch, fill(some, 2, 0, 9));
  std::vector<std::int32_t> shown;
  for (const std::int32_t at : epoch.at) shown.push_back(rows[static_cast<std::size_t>(at)]);
  const Filled augmented = gather(*all, 2, shown);
  EXPECT_EQ(epoch.x, augmented.x);
  EXPECT_EQ(epoch.y, augmented.y);
  EXPECT_NE(epoch.x, gather(*all, -1, shown).x);
  std::sort(shown.begin(), shown.end());
  auto sorted = rows;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(shown, sorted);

  EXPECT_NE(Subset(all, rows, {.seed = 6}).samples(), 0);
  EXPECT_NE(fill(Subset(all, rows, {.seed = 6}), 2, 0, 9).at, epoch.at);
  EXPECT_EQ(fill(Subset(all, rows, {.shuffle = false}), 2, 0, 9).at, stored.at);
}

TEST(SubsetTest, OfASubsetAndMadeAhead) {
  const auto all = digits(40);
  const auto some = std::make_shared<const Subset>(all, hold_out(40, 10).rest);
  const Subset fewer(some, {4, 9, 29});
  const auto rest = hold_out(40, 10).rest;
  EXPECT_EQ(gather(fewer, 1, {0, 2}).x, gather(*all, 1, {rest[4], rest[29]}).x);
  const Prefetch ahead(some);
  for (const std::int64_t epoch : {0, 1, -1}) {
    EXPECT_EQ(fill(ahead, epoch, 0, 30), fill(*some, epoch, 0, 30));
  }
}

// What fill() gives is what gather() gives for its rows, whatever the source.
TEST(SubsetTest, PicturesByTheirPlaces) {
  TempDir dir;
  for (int i = 0; i < 6; ++i) {
    dir.write(cat(i % 2 ? "a/" : "b/", i, ".jpg"), encode_jpeg(waves(40 + i, 30)));
  }
  ImageOptions options{.crop = 24, .resize = 26, .augment = PhotoAugment{}, .threads = 2};
  const auto pictures = std::make_shared<const ImageBatches>(image_files(dir.path()), options);
  for (const std::int64_t epoch : {-1, 0, 1}) {
    const Filled whole = fill(*pictures, epoch, 0, 6);
    EXPECT_EQ(gather(*pictures, epoch, whole.at), whole);
  }
  EXPECT_THAT(error_of([&] { gather(*pictures, 0, {6}); }), HasSubstr("rows within 6"));
}

TEST(SubsetTest, Errors) {
  const auto all = digits(10);
  EXPECT_THAT(error_of([&] { Subset(nullptr, {1}); }), HasSubstr("expected a source"));
  EXPECT_THAT(error_of([&] { Subset(all, {}); }), HasSubstr("at least one row"));
  EXPECT_THAT(error_of([&] { Subset(all, {1, 10}); }), HasSubstr("within 10 samples, got 10"));
  EXPECT_THAT(error_of([&] { Subset(all, {-1, 2}); }), HasSubstr("got -1"));
  EXPECT_THAT(error_of([&] { Subset(all, {1, 2, 1}); }), HasSubstr("row 1 is there twice"));
  const Subset some(all, {1, 2, 5});
  EXPECT_THAT(error_of([&] { fill(some, 0, 1, 3); }), HasSubstr("samples 1 to 4"));
  EXPECT_THAT(error_of([&] { fill(some, -2, 0, 3); }), HasSubstr("got epoch -2"));
  EXPECT_THAT(error_of([&] { gather(some, 0, {3}); }),
              HasSubstr("rows within 3 samples, got epoch 0, row 3"));
  EXPECT_THAT(error_of([&] { gather(*all, 0, {10}); }), HasSubstr("rows within 10"));
  EXPECT_THAT(error_of([&] { gather(*all, 0, {-1}); }), HasSubstr("rows within 10"));
}

}  // namespace
}  // namespace tessera::datasets
