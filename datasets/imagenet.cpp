#include "datasets/imagenet.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <numeric>
#include <thread>
#include <utility>

#include "core/parallel.h"
#include "core/rng.h"

namespace tessera::datasets {
namespace {

constexpr std::int64_t kMaxReplacements = 100;

// Calls work(thread, i) for i in [0, n), each once, and rethrows the exception of the lowest i.
// Indices are handed out in order, so every one below a failed one has run.
template <class Work>
void run_on_threads(std::int64_t n, std::int64_t threads, const Work& work) {
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  std::int64_t failed = std::numeric_limits<std::int64_t>::max();
  auto loop = [&](std::int64_t thread) {
    for (std::int64_t i = next++; i < n; i = next++) {
      try {
        work(thread, i);
      } catch (...) {
        next = n;
        const std::lock_guard lock(mutex);
        if (i < failed) {
          failed = i;
          error = std::current_exception();
        }
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::int64_t t = 1; t < std::min(threads, n); ++t) others.emplace_back(loop, t);
    loop(0);
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace

// Buffers of one thread.
struct ImageBatches::Scratch {
  std::vector<std::uint8_t> bytes;
  RgbImage decoded, sized;
  Resizer resizer;
};

ImageBatches::ImageBatches(ImageFiles files, ImageOptions options)
    : IndexedSource(options.shuffle, options.seed),
      files_(std::move(files)),
      options_(std::move(options)),
      planes_(options_.format) {
  check(files_.size() > 0 && files_.labels.size() == files_.files.size(), "[images] ", files_.name,
        ": expected at least one picture and as many labels, got ", files_.size(), " and ",
        files_.labels.size());
  check(files_.size() <= std::numeric_limits<std::int32_t>::max(), "[images] ", files_.name,
        ": more than 2^31 pictures");
  check(options_.crop >= 1 && options_.crop <= 4096, "[images] expected a crop of 1 to 4096, got ",
        options_.crop);
  check(options_.resize == 0 || (options_.resize >= options_.crop && options_.resize <= 8192),
        "[images] expected a short side of 0 (as it is) or from the crop of ", options_.crop,
        " to 8192, got ", options_.resize);
  check(options_.threads >= 0 && options_.threads <= kMaxThreads, "[images] expected 0 to ",
        kMaxThreads, " threads, got ", options_.threads);
  if (options_.augment) options_.augment->validate();
  if (options_.threads == 0) options_.threads = num_threads();
}

void ImageBatches::write(std::int64_t epoch, std::span<const std::int32_t> rows,
                         TensorMap& batch) const {
  const std::int64_t n = std::ssize(rows);
  // Which label a row has is known once its picture is: a bad one takes another's.
  Tensor x = batch.contains("x") ? batch.at("x") : field("x").tensor(n);
  const std::span<float> values = x.span<float>();
  const std::size_t size = values.size() / static_cast<std::size_t>(std::max<std::int64_t>(n, 1));
  const auto y = batch.find("y");
  std::vector<Scratch> scratch(static_cast<std::size_t>(
      std::min<std::int64_t>(options_.threads, std::max<std::int64_t>(n, 1))));
  run_on_threads(n, options_.threads, [&](std::int64_t thread, std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    const std::int32_t label = sample(epoch, rows[at], scratch[static_cast<std::size_t>(thread)],
                                      values.subspan(at * size, size));
    if (y != batch.end()) y->second.span<std::int32_t>()[at] = label;
  });
}

std::int32_t ImageBatches::sample(std::int64_t epoch, std::int64_t row, Scratch& scratch,
                                  std::span<float> out) const {
  // Known bad ones are tried again: a random crop may need the good part of a picture only, and
  // the sample must not depend on what was asked for before.
  const std::int64_t tries = std::min(samples(), kMaxReplacements);
  for (std::int64_t i = 0; i < tries; ++i) {
    const std::int64_t at = (row + i) % samples();
    const std::string path = files_.path(at).string();
    read_bytes(path, scratch.bytes);
    try {
      decode(epoch, at, path, scratch, out);
      return files_.labels[static_cast<std::size_t>(at)];
    } catch (const Error& error) {
      if (options_.on_bad_image == OnBadImage::stop) throw;
      const std::lock_guard lock(mutex_);
      bad_.emplace(at, error.what());
    }
  }
  fail("[images] ", name(), ": ", tries, " bad pictures in a row; the first: ", [&] {
    const std::lock_guard lock(mutex_);
    return bad_.at(row);
  }());
}

void ImageBatches::decode(std::int64_t epoch, std::int64_t row, const std::string& path,
                          Scratch& scratch, std::span<float> out) const {
  JpegReader jpeg(scratch.bytes, path, options_.max_pixels);
  const std::int64_t crop = options_.crop;
  if (!options_.augment || epoch < 0) {
    const Resize how = [&] {
      try {
        return center_crop(jpeg.width(), jpeg.height(), options_.resize, crop);
      } catch (const Error& error) {
        fail(error.what(), ": ", path);
      }
    }();
    scratch.resizer.run(how, jpeg.read(how.source(), 1, scratch.decoded), scratch.sized);
    planes_.write(scratch.sized.view(), false, out);
    return;
  }
  Rng rng(options_.seed, stable_id(cat("datasets/augment/", epoch, "/", row)));
  const PixelRect box = random_crop(jpeg.width(), jpeg.height(), *options_.augment, rng);
  const int by = options_.reduce ? JpegReader::denominator(box.width, box.height, crop, crop) : 1;
  const std::int64_t x = box.x / by, y = box.y / by;
  const RgbView pixels = jpeg.read(
      {x, y, (box.x + box.width + by - 1) / by - x, (box.y + box.height + by - 1) / by - y}, by,
      scratch.decoded);
  scratch.resizer.run({pixels.width, pixels.height, crop, crop, {0, 0, crop, crop}}, pixels,
                      scratch.sized);
  const bool mirrored = rng.uniform() < options_.augment->flip;
  color_jitter(scratch.sized, *options_.augment, rng);
  planes_.write(scratch.sized.view(), mirrored, out);
}

std::vector<BadImage> ImageBatches::bad_images() const {
  const std::lock_guard lock(mutex_);
  std::vector<BadImage> out;
  for (const auto& [row, reason] : bad_) out.push_back({files_.path(row).string(), reason});
  return out;
}

}  // namespace tessera::datasets
