#include "datasets/imagenet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

#include "datasets/batches.h"
#include "tests/datasets/pictures.h"
#include "tests/datasets/temp_dir.h"
#include "tests/fill_xy.h"

namespace tessera::datasets {
namespace {

using tessera::testing::classes_of;
using tessera::testing::fill_xy;
using tessera::testing::sample_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ImageFolder : public ::testing::Test {
 protected:
  std::string message(const std::filesystem::path& dir) {
    return error_of([&] { image_files(dir); });
  }
  TempDir dir_;
};

TEST_F(ImageFolder, ListsClassFoldersInOrder) {
  for (const char* name : {"s/b/2.JPEG", "s/b/1.jpg", "s/a/z.jpeg", "s/a/notes.txt", "s/a/.x.jpg",
                           "s/.hidden/1.jpg", "s/readme.txt", "s/c/deep.jpg/x.jpg", "s/c/q.Jpg"}) {
    dir_.write(name, "");
  }
  const ImageFiles files = image_files(dir_.path() / "s");
  EXPECT_EQ(files.name, "s");
  EXPECT_EQ(image_files(dir_.path() / "s/").name, "s");
  EXPECT_THAT(files.files, ElementsAre("a/z.jpeg", "b/1.jpg", "b/2.JPEG", "c/q.Jpg"));
  EXPECT_THAT(files.labels, ElementsAre(0, 1, 1, 2));
  EXPECT_THAT(files.class_ids, ElementsAre("a", "b", "c"));
  EXPECT_EQ(files.path(0), dir_.path() / "s/a/z.jpeg");
}

TEST_F(ImageFolder, SynsetWordsGiveTheNumbers) {
  dir_.write("s/b/1.jpg", "");
  dir_.write("s/a/1.jpg", "");
  dir_.write("synset_words.txt", "b fish, trout\r\nc\n\na  cat\n");
  const ImageFiles files = image_files(dir_.path() / "s");
  EXPECT_THAT(files.class_ids, ElementsAre("b", "c", "a"));
  EXPECT_THAT(files.class_words, ElementsAre("fish, trout", "", "cat"));
  EXPECT_THAT(files.labels, ElementsAre(2, 0));
  dir_.write("s/d/1.jpg", "");
  EXPECT_THAT(message(dir_.path() / "s"), HasSubstr("class d is not in synset_words.txt"));
  dir_.write("s/synset_words.txt", "a x\na y\n");
  EXPECT_THAT(message(dir_.path() / "s"), HasSubstr("synset_words.txt:2: class a is listed twice"));
  dir_.write("s/synset_words.txt", "\n");
  EXPECT_THAT(message(dir_.path() / "s"), HasSubstr("found none"));
}

TEST_F(ImageFolder, ListsALabelsFile) {
  dir_.write("images/with space.jpg", "");
  dir_.write("images/b.jpg", "");
  dir_.write("labels.txt", "with space.jpg 4\r\n\nb.jpg\t0\n");
  const ImageFiles files = image_files(dir_.path());
  EXPECT_THAT(files.files, ElementsAre("with space.jpg", "b.jpg"));
  EXPECT_THAT(files.labels, ElementsAre(4, 0));
  EXPECT_EQ(files.classes(), 5);
  EXPECT_EQ(files.path(1), dir_.path() / "images/b.jpg");
  // Beside the file, with known classes.
  dir_.write("flat/x.jpg", "");
  dir_.write("flat/labels.txt", "x.jpg 2");
  dir_.write("flat/synset_words.txt", "a\nb\nc\nd\n");
  EXPECT_EQ(image_files(dir_.path() / "flat").classes(), 4);
}

TEST_F(ImageFolder, LabelErrorsNameFileAndLine) {
  dir_.write("a.jpg", "");
  auto labels = [&](const std::string& text) {
    const auto file = dir_.write("labels.txt", text);
    const std::string out = message(dir_.path());
    EXPECT_THAT(out, HasSubstr("[images] " + file.string() + ":"));
    return out;
  };
  EXPECT_THAT(labels("a.jpg 1\nb.jpg 2\n"),
              AllOf(HasSubstr("labels.txt:2: no such file"), HasSubstr("b.jpg")));
  for (const char* line : {"a.jpg", "a.jpg x", "a.jpg 1.5", "7", " 7", "a.jpg 99999999999"}) {
    EXPECT_THAT(labels(line), HasSubstr("labels.txt:1: expected 'PICTURE CLASS' with a class"));
  }
  EXPECT_THAT(labels("a.jpg -1"), HasSubstr("expected a class from 0 to 1048575, found -1"));
  EXPECT_THAT(labels("a.jpg 2000000"), HasSubstr("found 2000000"));
  EXPECT_THAT(labels("a.jpg 1\na.jpg 1"), HasSubstr("labels.txt:2: a.jpg is listed twice"));
  EXPECT_THAT(labels(""), HasSubstr("found none"));
  dir_.write("synset_words.txt", "a\nb\n");
  EXPECT_THAT(labels("a.jpg 2"), HasSubstr("expected a class from 0 to 1, found 2"));
}

TEST_F(ImageFolder, FolderErrors) {
  EXPECT_THAT(message(dir_.path() / "none"), HasSubstr("none: no such folder"));
  EXPECT_THAT(message(dir_.path()), HasSubstr("a folder for each class, or labels.txt"));
  dir_.write("a/notes.txt", "");
  EXPECT_THAT(message(dir_.path()), HasSubstr("a: expected pictures *.jpg or *.jpeg, found none"));
}

TEST_F(ImageFolder, TrainAndVal) {
  dir_.write("train/a/1.jpg", "");
  EXPECT_THAT(error_of([&] { imagenet(dir_.path()); }),
              AllOf(HasSubstr("missing "), HasSubstr("val"), HasSubstr("--data DIR")));
  dir_.write("val/a/2.jpg", "");
  const ImageSplit split = imagenet(dir_.path());
  EXPECT_EQ(split.train.name, "train");
  EXPECT_THAT(split.val.files, ElementsAre("a/2.jpg"));
  EXPECT_EQ(imagenet_val(dir_.path()).files, split.val.files);
  EXPECT_EQ(imagenet_val(dir_.path() / "train").files, split.train.files);
  dir_.write("val/b/2.jpg", "");
  EXPECT_THAT(error_of([&] { imagenet(dir_.path()); }),
              HasSubstr("class 1 is nothing in train and b in val"));
}

// Twelve pictures of several sizes and kinds in three classes.
class ImageBatchesTest : public ::testing::Test {
 protected:
  ImageBatchesTest() {
    for (int i = 0; i < 12; ++i) {
      const RgbImage image = i % 2 ? pattern(40 + 13 * i, 60 + 5 * i) : waves(150 - 9 * i, 52);
      dir_.write(name(i),
                 encode_jpeg(image, {.components = i % 5 == 4 ? 1 : 3, .progressive = i % 4 == 3}));
    }
  }
  static std::string name(int i) { return cat(i / 4, "/", i / 10, i % 10, ".jpg"); }
  ImageBatches open(ImageOptions options = {}) const {
    if (options.crop == 224) {
      options.crop = 24;
      options.resize = 32;
    }
    return {image_files(dir_.path()), options};
  }
  struct Samples {
    Tensor x, y;
    bool operator==(const Samples& other) const {
      return equal_bits(x, other.x) && equal_bits(y, other.y);
    }
  };
  static Samples fill(const ImageBatches& batches, std::int64_t epoch, std::int64_t first = 0,
                      std::int64_t n = 12) {
    const std::int64_t crop = batches.options().crop;
    Samples out{Tensor(DType::f32, {n, 3, crop, crop}), Tensor(DType::s32, {n})};
    fill_xy(batches, epoch, first, out.x, out.y);
    return out;
  }
  TempDir dir_;
};

const PhotoAugment kStrong{.brightness = 0.4f, .contrast = 0.4f, .saturation = 0.4f};

TEST_F(ImageBatchesTest, EvaluationIsTheResizedCentre) {
  const ImageBatches batches = open();
  EXPECT_EQ(batches.samples(), 12);
  EXPECT_EQ(classes_of(batches), 3);
  EXPECT_EQ(sample_of(batches), Shape({3, 24, 24}));
  const Samples all = fill(batches, -1);
  Resizer resizer;
  std::vector<float> expected(3 * 24 * 24);
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(all.y.span<std::int32_t>()[static_cast<std::size_t>(i)], i / 4);
    // The whole picture is resized, then cut.
    const Tensor image = read_jpeg(dir_.path() / name(i));
    const std::int64_t h = image.shape()[0].value(), w = image.shape()[1].value();
    const RgbView view{image.span<std::uint8_t>().data(), w, h, 3 * w};
    Resize how = center_crop(w, h, 32, 24);
    const PixelRect window = std::exchange(how.window, {0, 0, how.to_width, how.to_height});
    RgbImage whole;
    resizer.run(how, view, whole);
    Planes({}).write(whole.view().crop(window), false, expected);
    EXPECT_EQ(std::memcmp(expected.data(), all.x.slice(i, i + 1).data(), expected.size() * 4), 0)
        << i;
  }
  // Without augmentation an epoch only changes the order.
  const Samples first = fill(batches, 0);
  const auto order = epoch_order(12, 1, 0);
  for (std::int64_t i = 0; i < 12; ++i) {
    const std::int64_t row = order[static_cast<std::size_t>(i)];
    EXPECT_TRUE(equal_bits(first.x.slice(i, i + 1), all.x.slice(row, row + 1)));
  }
}

TEST_F(ImageBatchesTest, TheSameBitsForAnyThreadCountAndRange) {
  const Samples one = fill(open({.augment = kStrong, .threads = 1}), 3);
  for (const int threads : {2, 3, 7}) {
    const ImageBatches batches = open({.augment = kStrong, .threads = threads});
    EXPECT_TRUE(fill(batches, 3) == one);
    const Samples part = fill(batches, 3, 5, 4);
    EXPECT_TRUE(equal_bits(part.x, one.x.slice(5, 9)));
    EXPECT_FALSE(fill(batches, 4) == one);
    EXPECT_TRUE(fill(batches, 3) == one);
  }
  EXPECT_FALSE(fill(open({.augment = kStrong, .seed = 2}), 3) == one);
  EXPECT_TRUE(fill(open({.augment = kStrong}), -1) == fill(open(), -1));
}

TEST_F(ImageBatchesTest, FillsFromSeveralThreads) {
  const ImageBatches batches = open({.augment = kStrong, .threads = 2});
  const Samples expected[] = {fill(batches, 0), fill(batches, 1)};
  std::array<int, 4> wrong{};
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 4; ++i) wrong[t] += !(fill(batches, t % 2) == expected[t % 2]);
      });
    }
  }
  EXPECT_EQ(wrong, (std::array<int, 4>{}));
}

TEST_F(ImageBatchesTest, EveryRandomChangeHasAnEffect) {
  const PhotoAugment none{.min_area = 1, .flip = 0};
  const Samples plain = fill(open({.augment = none}), 0);
  for (auto change :
       {+[](PhotoAugment& a) { a.flip = 1; }, +[](PhotoAugment& a) { a.min_area = 0.08; },
        +[](PhotoAugment& a) { a.brightness = 0.5f; }, +[](PhotoAugment& a) { a.contrast = 0.5f; },
        +[](PhotoAugment& a) { a.saturation = 0.5f; }}) {
    PhotoAugment augment = none;
    change(augment);
    EXPECT_FALSE(fill(open({.augment = augment}), 0) == plain);
  }
  // All mirrored: the columns of the plain ones from right to left.
  PhotoAugment mirrored = none;
  mirrored.flip = 1;
  const Samples flipped = fill(open({.augment = mirrored}), 0);
  const auto a = plain.x.span<float>(), b = flipped.x.span<float>();
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i], b[i / 24 * 24 + 23 - i % 24]);
}

TEST_F(ImageBatchesTest, ReducedDecodingChangesLittle) {
  const PhotoAugment whole{.min_area = 1, .flip = 0};
  dir_.write("0/00.jpg", encode_jpeg(waves(400, 400)));
  const Samples a = fill(open({.augment = whole, .shuffle = false}), 0, 0, 1),
                b = fill(open({.augment = whole, .reduce = false, .shuffle = false}), 0, 0, 1);
  EXPECT_FALSE(a == b);
  const auto x = a.x.span<float>(), y = b.x.span<float>();
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], 0.2);
}

TEST_F(ImageBatchesTest, ABadPictureStopsByName) {
  const auto bad = dir_.write(name(6), "\x89PNG");
  dir_.write(name(9), "");
  for (const int threads : {1, 4}) {
    const ImageBatches batches = open({.threads = threads});
    const std::string text = error_of([&] { fill(batches, -1); });
    EXPECT_EQ(text, cat("[jpeg] ", bad.string(), ": expected a JPEG file, found a PNG file"));
    EXPECT_TRUE(batches.bad_images().empty());
  }
}

TEST_F(ImageBatchesTest, ASkippedPictureGivesItsPlaceToTheNextGoodOne) {
  dir_.write(name(3), "");
  dir_.write(name(4), "x");
  dir_.write(name(11), "GIF8");
  Samples first;
  for (const int threads : {1, 4}) {
    const ImageBatches batches = open({.threads = threads, .on_bad_image = OnBadImage::skip});
    const Samples all = fill(batches, -1);
    for (const auto& [bad, instead] : {std::pair{3, 5}, {4, 5}, {11, 0}}) {
      EXPECT_TRUE(equal_bits(all.x.slice(bad, bad + 1), all.x.slice(instead, instead + 1)));
      EXPECT_EQ(all.y.span<std::int32_t>()[static_cast<std::size_t>(bad)], instead / 4);
    }
    const auto list = batches.bad_images();
    ASSERT_EQ(list.size(), 3u);
    EXPECT_EQ(list[0].file, dir_.path() / name(3));
    EXPECT_THAT(list[0].reason, HasSubstr("an empty file"));
    EXPECT_EQ(list[2].file, dir_.path() / name(11));
    fill(batches, -1);
    EXPECT_EQ(batches.bad_images().size(), 3u);
    if (threads > 1) EXPECT_TRUE(all == first);
    first = all;
  }
  for (int i = 0; i < 12; ++i) dir_.write(name(i), "");
  const ImageBatches none = open({.on_bad_image = OnBadImage::skip});
  EXPECT_THAT(
      error_of([&] { fill(none, -1); }),
      AllOf(HasSubstr("12 bad pictures in a row"), HasSubstr(name(0)), HasSubstr("an empty file")));
}

TEST_F(ImageBatchesTest, AFileThatIsGoneIsAnErrorWithSkipToo) {
  const ImageBatches batches = open({.on_bad_image = OnBadImage::skip});
  std::filesystem::remove(dir_.path() / name(2));
  EXPECT_THAT(error_of([&] { fill(batches, -1); }),
              AllOf(HasSubstr(name(2)), HasSubstr("cannot be opened")));
}

TEST_F(ImageBatchesTest, Errors) {
  const ImageFiles files = image_files(dir_.path());
  auto with = [&](ImageOptions options) { return error_of([&] { ImageBatches(files, options); }); };
  EXPECT_THAT(with({.crop = 0}), HasSubstr("crop of 1 to 4096, got 0"));
  EXPECT_THAT(with({.crop = 300}), HasSubstr("short side of 0"));
  EXPECT_THAT(with({.threads = -1}), HasSubstr("got -1"));
  EXPECT_THAT(with({.augment = PhotoAugment{.flip = 7}}), HasSubstr("flip"));
  EXPECT_THAT(with({.format = {.std = {0, 1, 1}}}), HasSubstr("positive"));
  EXPECT_THAT(error_of([] { ImageBatches(ImageFiles{}); }), HasSubstr("at least one picture"));
  EXPECT_THAT(error_of([&] { fill(open(), 0, 8, 5); }), HasSubstr("samples 8 to 13"));
  EXPECT_THAT(error_of([&] { fill(open(), -2); }), HasSubstr("got epoch -2"));
  Tensor x(DType::f32, {2, 3, 24, 23}), y(DType::s32, {2});
  EXPECT_THAT(error_of([&] { fill_xy(open(), 0, 0, x, y); }),
              HasSubstr("'x' of n samples x f32[3,24,24]"));
  // A picture smaller than the crop.
  EXPECT_THAT(error_of([&] { fill(open({.crop = 60, .resize = 0}), -1); }),
              AllOf(HasSubstr("smaller than the crop of 60"), HasSubstr(name(0))));
}

}  // namespace
}  // namespace tessera::datasets
