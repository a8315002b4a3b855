#include "datasets/detection_batches.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/rng.h"
#include "datasets/jpeg.h"

namespace tessera::datasets {

namespace {

constexpr std::uint8_t kGrey = 114;  // beside a picture that is not as wide or high as a sample
constexpr std::int64_t kMostSide = 4096;

}  // namespace

ReadPicture pictures_in(const std::filesystem::path& folder, const CocoSet& set) {
  for (const CocoImage& image : set.images) {
    check(std::filesystem::is_regular_file(folder / image.file), set.name, ": image ", image.id,
          ": there is no picture ", (folder / image.file).string());
  }
  return [folder, images = set.images, name = set.name](std::int64_t i, PictureMemory& memory) {
    const CocoImage& image = images[static_cast<std::size_t>(i)];
    const std::string path = (folder / image.file).string();
    read_bytes(path, memory.bytes);
    JpegReader jpeg(memory.bytes, path);
    check((image.width == 0 || image.width == jpeg.width()) &&
              (image.height == 0 || image.height == jpeg.height()),
          path, ": has ", jpeg.width(), " x ", jpeg.height(), " pixels, ", name, " says ",
          image.width, " x ", image.height);
    return jpeg.read(memory.image);
  };
}

ReadPicture pictures_of(Tensor pixels) {
  check(pixels.dtype() == DType::u8 && pixels.shape().rank() == 4 && pixels.shape()[3].value() == 3,
        "expected pictures u8[n,height,width,3], got ", pixels.text_type());
  return [pixels](std::int64_t i, PictureMemory&) {
    const std::int64_t height = pixels.shape()[1].value(), width = pixels.shape()[2].value();
    return RgbView{pixels.span<std::uint8_t>().data() + i * 3 * height * width, width, height,
                   3 * width};
  };
}

std::int64_t most_objects(const CocoSet& set) {
  std::int64_t out = 1;
  for (const CocoImage& image : set.images) out = std::max(out, std::ssize(image.boxes));
  return out;
}

// What of a picture is shown, and where in the sample.
struct DetectionBatches::Shown {
  PixelRect part;    // of the picture
  PixelRect window;  // of the sample
  bool cut = false;
  // Of the sample, in this order.
  bool transposed = false, upside_down = false, mirrored = false;
  std::array<std::uint8_t, 3> channels = {0, 1, 2};
  bool negative = false;
  Frame frame;
};

DetectionBatches::DetectionBatches(std::shared_ptr<const CocoSet> set, ReadPicture read,
                                   DetectionBatchOptions options)
    : IndexedSource(options.shuffle, options.seed),
      set_(std::move(set)),
      read_(std::move(read)),
      options_(std::move(options)),
      planes_(options_.format) {
  const auto side = [](std::int64_t n) { return n >= 1 && n <= kMostSide; };
  check(side(options_.width) && side(options_.height),
        "[detection batches] expected sides of 1 to ", kMostSide, ", got ", options_.width, " x ",
        options_.height);
  check(!set_->images.empty() && samples() <= std::numeric_limits<std::int32_t>::max(), name(),
        ": expected 1 to 2^31 pictures, got ", samples());
  const std::int64_t most = most_objects(*set_);
  if (options_.most == 0) options_.most = most;
  check(options_.most >= most, name(), ": a picture has ", most, " objects, expected at most ",
        options_.most);
  if (const auto& a = options_.augment) {
    check(a->flip >= 0 && a->flip <= 1 && a->min_area > 0 && a->min_area <= 1 &&
              a->least_visible >= 0 && a->least_visible <= 1,
          "[detection batches] expected flip and least_visible in [0, 1] and min_area in (0, 1], "
          "got ",
          a->flip, ", ", a->least_visible, " and ", a->min_area);
  }
  for (const CocoCategory& category : set_->categories)
    kinds_.emplace(category.id, static_cast<std::int32_t>(kinds_.size()));
}

std::vector<Field> DetectionBatches::own_fields() const {
  std::vector<Field> out = {{"x", DType::f32, {3, options_.height, options_.width}}};
  for (Field& field : detection_fields(std::ssize(set_->categories), options_.most))
    out.push_back(std::move(field));
  return out;
}

DetectionBatches::Shown DetectionBatches::shown(std::int64_t epoch, std::int64_t row,
                                                const RgbView& picture) const {
  Shown out;
  out.part = {0, 0, picture.width, picture.height};
  if (options_.augment && epoch >= 0) {
    Rng rng(options_.seed, stable_id(cat("datasets/detection/", epoch, "/", row)));
    out.cut = true;
    PhotoAugment crop;
    crop.min_area = options_.augment->min_area;
    if (crop.min_area < 1) out.part = random_crop(picture.width, picture.height, crop, rng);
    out.mirrored = rng.uniform() < static_cast<float>(options_.augment->flip);
    if (options_.augment->turn) {
      out.transposed = options_.width == options_.height && rng.below(2) == 1;
      out.upside_down = rng.below(2) == 1;
    }
    if (options_.augment->colours) {
      std::swap(out.channels[0], out.channels[rng.below(3)]);
      std::swap(out.channels[1], out.channels[1 + rng.below(2)]);
      out.negative = rng.below(2) == 1;
    }
  }
  const auto w = static_cast<double>(out.part.width), h = static_cast<double>(out.part.height);
  out.window = {0, 0, options_.width, options_.height};
  if (options_.fit == Fit::letterbox) {
    const double scale =
        std::min(static_cast<double>(options_.width) / w, static_cast<double>(options_.height) / h);
    const auto side = [&](double n, std::int64_t most) {
      return std::clamp<std::int64_t>(std::llround(n * scale), 1, most);
    };
    out.window.width = side(w, options_.width);
    out.window.height = side(h, options_.height);
    out.window.x = (options_.width - out.window.width) / 2;
    out.window.y = (options_.height - out.window.height) / 2;
  }
  // Pixels of the picture to one of the sample.
  const double sx = w / static_cast<double>(out.window.width),
               sy = h / static_cast<double>(out.window.height);
  out.frame = {static_cast<double>(out.part.x) - sx * static_cast<double>(out.window.x),
               static_cast<double>(out.part.y) - sy * static_cast<double>(out.window.y),
               sx * static_cast<double>(options_.width),
               sy * static_cast<double>(options_.height),
               static_cast<double>(picture.width),
               static_cast<double>(picture.height)};
  return out;
}

void DetectionBatches::write_turned(const Shown& how, const RgbView& sample,
                                    std::span<float> out) const {
  const bool same_colours = how.channels == std::array<std::uint8_t, 3>{0, 1, 2} && !how.negative;
  if (!how.transposed && !how.upside_down && same_colours) {
    planes_.write(sample, how.mirrored, out);
    return;
  }
  RgbImage turned;
  turned.resize(sample.width, sample.height);
  const auto negative = static_cast<std::uint8_t>(how.negative ? 255 : 0);
  for (std::int64_t y = 0; y < sample.height; ++y) {
    std::uint8_t* to = turned.row(y);
    const std::int64_t row = how.upside_down ? sample.height - 1 - y : y;
    for (std::int64_t x = 0; x < sample.width; ++x) {
      const std::uint8_t* from = how.transposed ? sample.row(x) + 3 * row : sample.row(row) + 3 * x;
      for (std::size_t c = 0; c < 3; ++c)
        *to++ = static_cast<std::uint8_t>(from[how.channels[c]] ^ negative);
    }
  }
  planes_.write(turned.view(), how.mirrored, out);
}

void DetectionBatches::write_picture(const Shown& how, const RgbView& picture,
                                     std::span<float> out) const {
  const RgbView part = picture.crop(how.part);
  if (part.width == options_.width && part.height == options_.height) {
    write_turned(how, part, out);
    return;
  }
  Resizer resizer;
  RgbImage sized, whole;
  resizer.run({part.width,
               part.height,
               how.window.width,
               how.window.height,
               {0, 0, how.window.width, how.window.height}},
              part, sized);
  if (how.window.width == options_.width && how.window.height == options_.height) {
    write_turned(how, sized.view(), out);
    return;
  }
  whole.resize(options_.width, options_.height);
  for (std::int64_t y = 0; y < options_.height; ++y) {
    std::memset(whole.row(y), kGrey, static_cast<std::size_t>(3 * options_.width));
    const std::int64_t from = y - how.window.y;
    if (from < 0 || from >= how.window.height) continue;
    std::memcpy(whole.row(y) + 3 * how.window.x, sized.row(from),
                static_cast<std::size_t>(3 * how.window.width));
  }
  write_turned(how, whole.view(), out);
}

void DetectionBatches::write_objects(const Shown& how, std::int64_t row, std::size_t at,
                                     TensorMap& batch) const {
  const auto most = static_cast<std::size_t>(options_.most);
  // The values of sample `at`; none where the batch does not ask for them.
  const auto floats = [&](const char* name, std::size_t n) {
    const auto found = batch.find(name);
    return found == batch.end() ? std::span<float>()
                                : found->second.span<float>().subspan(at * n, n);
  };
  const auto whole = [&](const char* name, std::size_t n) {
    const auto found = batch.find(name);
    return found == batch.end() ? std::span<std::int32_t>()
                                : found->second.span<std::int32_t>().subspan(at * n, n);
  };
  const auto boxes = floats("boxes", 4 * most), areas = floats("areas", most),
             frame = floats("frame", 6);
  const auto kinds = whole("kinds", most), crowds = whole("crowds", most), ids = whole("ids", most),
             objects = whole("objects", 1);
  for (const auto& values : {boxes, areas}) std::ranges::fill(values, 0.0f);
  for (const auto& values : {kinds, crowds, ids}) std::ranges::fill(values, 0);
  const double left = static_cast<double>(how.part.x), top = static_cast<double>(how.part.y),
               right = left + static_cast<double>(how.part.width),
               bottom = top + static_cast<double>(how.part.height);
  std::size_t n = 0;
  for (const TrueBox& object : set_->images[static_cast<std::size_t>(row)].boxes) {
    Box box = object.box;
    if (how.cut) {
      const double x = std::clamp(box.x, left, right), y = std::clamp(box.y, top, bottom);
      box = {x, y, std::clamp(box.x + box.width, left, right) - x,
             std::clamp(box.y + box.height, top, bottom) - y};
      const bool tiny = box.width / how.frame.width * static_cast<double>(options_.width) < 1 ||
                        box.height / how.frame.height * static_cast<double>(options_.height) < 1;
      if (tiny || box.area() < options_.augment->least_visible * object.box.area()) continue;
    }
    auto shares = how.frame.shares(box);
    if (how.transposed) {
      std::swap(shares[0], shares[1]);
      std::swap(shares[2], shares[3]);
    }
    if (how.upside_down) shares[1] = 1 - shares[1];
    if (how.mirrored) shares[0] = 1 - shares[0];
    if (!boxes.empty()) std::ranges::copy(shares, boxes.begin() + static_cast<long>(4 * n));
    if (!areas.empty()) areas[n] = static_cast<float>(object.area);
    if (!kinds.empty()) kinds[n] = kinds_.at(object.category);
    if (!crowds.empty()) crowds[n] = object.crowd;
    if (!ids.empty()) ids[n] = object.id == 0 ? 0 : static_cast<std::int32_t>(n) + 1;
    ++n;
  }
  if (!objects.empty()) objects[0] = static_cast<std::int32_t>(n);
  if (!frame.empty()) std::ranges::copy(how.frame.numbers(), frame.begin());
}

void DetectionBatches::write(std::int64_t epoch, std::span<const std::int32_t> rows,
                             TensorMap& batch) const {
  const auto x = batch.find("x");
  PictureMemory memory;
  const auto size = static_cast<std::size_t>(3 * options_.height * options_.width);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const RgbView picture = read_(rows[i], memory);
    const Shown how = shown(epoch, rows[i], picture);
    if (x != batch.end())
      write_picture(how, picture, x->second.span<float>().subspan(i * size, size));
    write_objects(how, rows[i], i, batch);
  }
}

}  // namespace tessera::datasets
