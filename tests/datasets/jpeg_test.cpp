#include "datasets/jpeg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "core/rng.h"
#include "tests/datasets/pictures.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::datasets {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Decoded {
  RgbImage memory;
  RgbView view;
};

Decoded decode(const std::string& file, int denominator = 1) {
  const auto bytes = as_bytes(file);
  JpegReader reader(bytes, "a.jpg");
  Decoded out;
  const std::int64_t d = denominator;
  out.view = reader.read({0, 0, (reader.width() + d - 1) / d, (reader.height() + d - 1) / d},
                         denominator, out.memory);
  return out;
}

// One line that names the file.
std::string message(const std::string& file) {
  const std::string text = error_of([&] { decode(file); });
  EXPECT_THAT(text, AllOf(StartsWith("[jpeg] a.jpg: "), Not(HasSubstr("\n"))));
  return text;
}

TEST(Jpeg, DecodesEveryKind) {
  const RgbImage image = waves(61, 43);
  for (const bool progressive : {false, true}) {
    for (const auto& [across, down] : {std::pair{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 1}}) {
      const Decoded got = decode(encode_jpeg(
          image, {.quality = 95, .across = across, .down = down, .progressive = progressive}));
      EXPECT_LE(difference(got.view, image.view()), 14) << across << " " << down;
    }
    for (const bool adobe : {false, true}) {
      for (const bool ycck : {false, true}) {
        // Without the marker nothing tells YCCK from CMYK.
        if (ycck && !adobe) continue;
        const JpegSettings ink{.components = 4,
                               .ycck = ycck,
                               .adobe = adobe,
                               .quality = 95,
                               .progressive = progressive};
        EXPECT_LE(difference(decode(encode_jpeg(image, ink)).view, image.view()), 14)
            << adobe << ycck;
      }
    }
  }
}

TEST(Jpeg, GreyBecomesThreeEqualChannels) {
  const RgbImage image = waves(61, 43);
  const Decoded got = decode(encode_jpeg(image, {.components = 1, .quality = 95}));
  for (std::int64_t y = 0; y < 43; ++y) {
    for (std::int64_t x = 0; x < 61; ++x) {
      const auto* pixel = got.view.row(y) + 3 * x;
      ASSERT_TRUE(pixel[0] == pixel[1] && pixel[1] == pixel[2]);
      ASSERT_NEAR(pixel[0], image.view().row(y)[3 * x], 5);
    }
  }
}

TEST(Jpeg, OnePixel) {
  RgbImage image;
  image.resize(1, 1);
  std::fill_n(image.row(0), 3, std::uint8_t{200});
  for (const int components : {1, 3, 4}) {
    const Decoded got = decode(encode_jpeg(image, {.components = components}));
    EXPECT_LE(difference(got.view, image.view()), 1);
  }
  EXPECT_EQ(decode(encode_jpeg(image), 8).view.width, 1);
}

TEST(Jpeg, TensorsOfFilesAndMemory) {
  const TempDir dir;
  const RgbImage image = waves(30, 20);
  const std::string file = encode_jpeg(image);
  const Tensor whole = read_jpeg(dir.write("b.jpg", file));
  EXPECT_EQ(whole.text_type(), "u8[20,30,3]");
  const Decoded got = decode(file);
  EXPECT_EQ(difference({whole.span<std::uint8_t>().data(), 30, 20, 90}, got.view), 0);
  EXPECT_EQ(decode_jpeg(as_bytes(file), "b", 4).text_type(), "u8[5,8,3]");
  EXPECT_THAT(error_of([&] { decode_jpeg(as_bytes(file), "b", 3); }), HasSubstr("1, 2, 4 or 8"));
  EXPECT_THAT(error_of([&] { decode_jpeg(as_bytes(file), "b", 0); }), HasSubstr("1, 2, 4 or 8"));
  EXPECT_THAT(error_of([&] { read_jpeg(dir.path() / "none.jpg"); }),
              AllOf(HasSubstr("none.jpg"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([&] { read_jpeg(dir.path()); }), HasSubstr("cannot be opened"));
  EXPECT_THAT(error_of([&] { read_jpeg(dir.write("empty.jpg", "")); }),
              AllOf(HasSubstr("empty.jpg"), HasSubstr("an empty file")));
}

TEST(Jpeg, ReducedPicturesAreTheMeanOfTheirPixels) {
  const RgbImage image = waves(101, 67);
  for (const int d : {2, 4, 8}) {
    const Decoded got = decode(encode_jpeg(image, {.quality = 95}), d);
    ASSERT_EQ(got.view.width, (101 + d - 1) / d);
    ASSERT_EQ(got.view.height, (67 + d - 1) / d);
    for (std::int64_t y = 0; y < 67 / d; ++y) {
      for (std::int64_t j = 0; j < 101 / d * 3; ++j) {
        int sum = 0;
        for (int v = 0; v < d; ++v) {
          for (int u = 0; u < d; ++u)
            sum += image.view().row(y * d + v)[3 * (j / 3 * d + u) + j % 3];
        }
        ASSERT_NEAR(got.view.row(y)[j], sum / (d * d), 16) << d;
      }
    }
  }
}

TEST(Jpeg, TheReductionKeepsWhatIsNeeded) {
  EXPECT_EQ(JpegReader::denominator(500, 375, 224, 224), 1);
  EXPECT_EQ(JpegReader::denominator(448, 448, 224, 224), 2);
  EXPECT_EQ(JpegReader::denominator(447, 5000, 224, 224), 1);
  EXPECT_EQ(JpegReader::denominator(5000, 900, 224, 224), 4);
  EXPECT_EQ(JpegReader::denominator(100000, 100000, 224, 224), 8);
  EXPECT_EQ(JpegReader::denominator(10, 10, 224, 224), 1);
}

// The whole picture decoded, then cut, is the reference.
TEST(Jpeg, ABoxHasThePixelsOfTheWholePicture) {
  const RgbImage image = pattern(150, 110);
  Rng rng(5, 0);
  for (const auto& [across, down] : {std::pair{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 1}}) {
    for (const bool progressive : {false, true}) {
      for (const int components : {1, 3, 4}) {
        if (components != 3 && across != 1) continue;
        const std::string file = encode_jpeg(image, {.components = components,
                                                     .across = across,
                                                     .down = down,
                                                     .progressive = progressive,
                                                     .restart = progressive ? 0 : 3});
        const auto bytes = as_bytes(file);
        for (const int d : {1, 2, 4, 8}) {
          const Decoded whole = decode(file, d);
          for (int i = 0; i < 25; ++i) {
            auto side = [&](std::int64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
            PixelRect box{side(whole.view.width), side(whole.view.height), 0, 0};
            box.width = 1 + side(whole.view.width - box.x);
            box.height = 1 + side(whole.view.height - box.y);
            JpegReader reader(bytes, "box");
            RgbImage memory;
            const RgbView got = reader.read(box, d, memory);
            ASSERT_EQ(difference(got, whole.view.crop(box)), 0)
                << across << " x " << down << (progressive ? " progressive" : "") << " 1/" << d
                << " " << components << " box " << box.x << " " << box.y << " " << box.width << " "
                << box.height;
          }
        }
      }
    }
  }
}

TEST(Jpeg, RefusesBoxesOutsideThePicture) {
  const auto bytes = as_bytes(encode_jpeg(waves(30, 20)));
  for (const PixelRect& box :
       {PixelRect{0, 0, 31, 20}, PixelRect{1, 0, 30, 20}, PixelRect{0, 0, 0, 20},
        PixelRect{-1, 0, 5, 5}, PixelRect{0, 19, 1, 2}}) {
    JpegReader reader(bytes, "a.jpg");
    RgbImage memory;
    EXPECT_THAT(error_of([&] { reader.read(box, 1, memory); }),
                HasSubstr("leaves the picture of 30 x 20"));
  }
}

TEST(Jpeg, SaysWhatAFileIsInstead) {
  EXPECT_THAT(message(""), HasSubstr("found an empty file"));
  EXPECT_THAT(message("\x89PNG\r\n\x1A\n...."), HasSubstr("found a PNG file"));
  EXPECT_THAT(message("GIF89a"), HasSubstr("found a GIF file"));
  EXPECT_THAT(message("RIFF....WEBP"), HasSubstr("WebP"));
  EXPECT_THAT(message("<html>"), HasSubstr("HTML"));
  EXPECT_THAT(message("x"), HasSubstr("found no JPEG file"));
  EXPECT_THAT(message(std::string(100, '\0')), HasSubstr("found no JPEG file"));
}

TEST(Jpeg, RefusesWhatHeadersShouldNotSay) {
  EXPECT_THAT(message(jpeg_header(0xC1, 12, 16, 16, 3)), HasSubstr("data precision 12"));
  EXPECT_THAT(message(jpeg_header(0xC3, 16, 16, 16, 3)), HasSubstr("SOF type 0xc3"));
  EXPECT_THAT(message(jpeg_header(0xC0, 16, 16, 16, 3)), HasSubstr("data precision 16"));
  EXPECT_THAT(message(jpeg_header(0xC0, 8, 0, 16, 3)), HasSubstr("Empty JPEG image"));
  EXPECT_THAT(message(jpeg_header(0xC0, 8, 16, 0, 3)), HasSubstr("Empty JPEG image"));
  EXPECT_THAT(message(jpeg_header(0xC0, 8, 65500, 65500, 3)),
              HasSubstr("65500 x 65500 pixels are more than the limit of 100000000"));
  EXPECT_THAT(message(jpeg_header(0xC0, 8, 65535, 16, 3)), HasSubstr("65500 pixels"));
  EXPECT_THAT(message(encode_jpeg(waves(20, 20), {.components = 2})),
              HasSubstr("1, 3 or 4 components, found 2"));
  const auto bytes = as_bytes(encode_jpeg(waves(20, 20)));
  EXPECT_THAT(error_of([&] { JpegReader(bytes, "a.jpg", 399); }),
              HasSubstr("20 x 20 pixels are more than the limit of 399"));
  // A header without tables or data.
  EXPECT_NE(message(jpeg_header(0xC0, 8, 16, 16, 3)), "");
}

TEST(Jpeg, RefusesThousandsOfScans) {
  std::string file = encode_jpeg(waves(16, 16), {.components = 1, .progressive = true});
  // Repeats the last scan (SOS to EOI).
  const auto scan = file.rfind("\xFF\xDA");
  const std::string last = file.substr(scan, file.size() - 2 - scan);
  file.resize(file.size() - 2);
  for (int i = 0; i < 2000; ++i) file += last;
  EXPECT_NE(message(file + "\xFF\xD9"), "");
}

TEST(Jpeg, DataThatEndsEarlyIsAnError) {
  for (const bool progressive : {false, true}) {
    const std::string file = encode_jpeg(waves(90, 70), {.progressive = progressive});
    for (std::size_t n = 2; n < file.size(); n += 7) {
      EXPECT_THAT(message(file.substr(0, n)),
                  ::testing::AnyOf(HasSubstr("remature end"), HasSubstr("SOS")))
          << n;
      // A progressive file that ends between two scans is whole, and coarse.
      if (!progressive) EXPECT_NE(message(file.substr(0, n) + "\xFF\xD9"), "") << n;
    }
    // Bytes after the end marker are no concern of the picture.
    decode(file + std::string(1000, '\0'));
  }
}

// Anything may come out but a crash, a leak or an exception of another kind.
TEST(Jpeg, SurvivesDamage) {
  Rng rng(11, 0);
  int errors = 0, pictures = 0;
  for (const JpegSettings& settings :
       {JpegSettings{}, JpegSettings{.progressive = true}, JpegSettings{.across = 1, .down = 1},
        JpegSettings{.components = 1, .restart = 2}, JpegSettings{.components = 4, .ycck = true}}) {
    const std::string file = encode_jpeg(pattern(70, 50), settings);
    for (int i = 0; i < 150; ++i) {
      std::string damaged = file;
      for (std::uint64_t n = 1 + rng.below(4); n > 0; --n)
        damaged[rng.below(damaged.size())] = static_cast<char>(rng.below(256));
      if (i % 3 == 0) damaged.erase(rng.below(damaged.size()), 1 + rng.below(40));
      if (i % 5 == 0) damaged.resize(rng.below(damaged.size()));
      const auto bytes = as_bytes(damaged);
      const std::string error = error_of([&] {
        JpegReader reader(bytes, "damaged", 1'000'000);
        const int d = 1 << rng.below(4);
        const std::int64_t width = (reader.width() + d - 1) / d,
                           height = (reader.height() + d - 1) / d;
        const PixelRect box{width / 3, height / 3, width - width / 3, (height + 1) / 2};
        RgbImage memory;
        reader.read(box, d, memory);
      });
      ++(error.empty() ? pictures : errors);
      if (!error.empty()) EXPECT_THAT(error, StartsWith("[jpeg] damaged: "));
    }
  }
  EXPECT_GT(errors, 100);
  EXPECT_GT(pictures, 10);
}

}  // namespace
}  // namespace tessera::datasets
