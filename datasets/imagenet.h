// ImageNet (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015) and
// sets kept like it, as batches: pictures are decoded when asked for.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "datasets/image_folder.h"
#include "datasets/image_ops.h"
#include "datasets/indexed_source.h"
#include "datasets/jpeg.h"

namespace tessera::datasets {

// What a picture that cannot be decoded does: ends the run with an Error that names it, or gives
// its place in the batch, label included, to the next good one in the stored order.
enum class OnBadImage { stop, skip };

struct BadImage {
  std::string file;
  std::string reason;
};

struct ImageOptions {
  std::int64_t crop = 224;    // side of a sample
  std::int64_t resize = 256;  // short side before the central crop; 0 keeps the size
  PixelFormat format = {};
  // Random crops, mirrored and recoloured, in epochs from 0 on. Epoch -1, which measures, always
  // takes the resized central crop.
  std::optional<PhotoAugment> augment = {};
  // Decode reduced pictures where a random crop keeps `crop` pixels; other values, less time.
  // The central crop is always taken from the whole picture.
  bool reduce = true;
  std::uint64_t seed = 1;
  bool shuffle = true;
  // std::thread of fill(), which may itself run in a thread beside the step; 0: as many as
  // num_threads(). An OpenMP region here would compete with the step's.
  int threads = 0;
  OnBadImage on_bad_image = OnBadImage::stop;
  std::int64_t max_pixels = kMaxJpegPixels;
};

// A sample is a function of (files, options, epoch, place in the epoch) alone, whatever the number
// of threads and the processor.
class ImageBatches final : public IndexedSource {
 public:
  // Throws Error when an option is out of range or the list is empty. Opens no picture.
  ImageBatches(ImageFiles files, ImageOptions options = {});

  std::string name() const override { return files_.name; }
  std::int64_t samples() const override { return files_.size(); }
  std::vector<Field> own_fields() const override {
    return {{"x", DType::f32, {3, options_.crop, options_.crop}},
            {"y", DType::s32, {}, files_.classes()}};
  }
  // Throws Error when a file cannot be opened or read; when a picture is bad with `stop` (the first
  // of the batch); and when 100 pictures in a row are bad with `skip`.
  void write(std::int64_t epoch, std::span<const std::int32_t> rows,
             TensorMap& batch) const override;

  const ImageFiles& files() const { return files_; }
  const ImageOptions& options() const { return options_; }
  // The pictures left out by `skip` until now, in the stored order.
  std::vector<BadImage> bad_images() const;

 private:
  struct Scratch;
  // One sample; returns its label.
  std::int32_t sample(std::int64_t epoch, std::int64_t row, Scratch& scratch,
                      std::span<float> out) const;
  void decode(std::int64_t epoch, std::int64_t row, const std::string& path, Scratch& scratch,
              std::span<float> out) const;

  ImageFiles files_;
  ImageOptions options_;
  Planes planes_;
  mutable std::mutex mutex_;  // guards what follows
  mutable std::map<std::int64_t, std::string> bad_;
};

}  // namespace tessera::datasets
