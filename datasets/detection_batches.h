// Pictures with boxes as batches: brought to a size, mirrored and cropped with their boxes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/boxes.h"
#include "core/tensor.h"
#include "datasets/coco.h"
#include "datasets/image_ops.h"
#include "datasets/indexed_source.h"
#include "datasets/rgb_image.h"

namespace tessera::datasets {

// Buffers that a picture may be decoded with; the view that comes back may lie in them.
struct PictureMemory {
  std::vector<std::uint8_t> bytes;
  RgbImage image;
};
// Picture i of a set. Safe to call from several threads with memory of their own. Throws Error.
using ReadPicture = std::function<RgbView(std::int64_t i, PictureMemory& memory)>;

// JPEGs of a folder, by the names in the set. Throws Error naming the first that is not there;
// reading one throws where it is no picture, or of another size than the set says.
ReadPicture pictures_in(const std::filesystem::path& folder, const CocoSet& set);
// Those of a tensor u8 [pictures, height, width, 3].
ReadPicture pictures_of(Tensor pixels);

// How a picture of other sides becomes a sample: whole, with grey beside it, or stretched.
enum class Fit { letterbox, stretch };

// What happens to a training sample, besides.
struct DetectionAugment {
  double flip = 0.5;      // probability of a mirrored sample
  double min_area = 0.4;  // share of the picture that is cropped to, at least; 1: no crop
  // A box that the crop leaves less of than this share is left out.
  double least_visible = 0.3;
  // Any of a square's symmetries, or of those that keep the sides of a sample that is none.
  bool turn = false;
  // Channels in any order, and as likely the negative: for pictures whose colours mean nothing.
  bool colours = false;
};

struct DetectionBatchOptions {
  std::int64_t width = 128, height = 128;  // of a sample
  Fit fit = Fit::letterbox;
  PixelFormat format = {};
  std::optional<DetectionAugment> augment = {};
  std::int64_t most = 0;  // objects that a sample has room for; 0: as many as a picture has
  std::uint64_t seed = 1;
  bool shuffle = true;
};

// Fields: "x" f32 [3, height, width] and those of detection_fields(): kinds are the set's
// categories in its order. Epoch -1 shows whole pictures with all boxes as they are, crowds, boxes
// without an area and boxes over the border among them: what COCO evaluates. Epochs from 0 on cut
// boxes at the border of what is shown and leave out those of which too little, or not a pixel of
// the sample, is left. "frame" says where the sample lies in its picture, before it is mirrored or
// turned. A sample is a function of (set, options, epoch, place) alone.
class DetectionBatches final : public IndexedSource {
 public:
  // Throws Error when an option is out of range, or a picture has more objects than `most`.
  DetectionBatches(std::shared_ptr<const CocoSet> set, ReadPicture read,
                   DetectionBatchOptions options = {});

  std::string name() const override { return set_->name; }
  std::int64_t samples() const override { return std::ssize(set_->images); }
  std::vector<Field> own_fields() const override;
  void write(std::int64_t epoch, std::span<const std::int32_t> rows,
             TensorMap& batch) const override;

  const CocoSet& set() const { return *set_; }

 private:
  struct Shown;
  Shown shown(std::int64_t epoch, std::int64_t row, const RgbView& picture) const;
  void write_picture(const Shown& how, const RgbView& picture, std::span<float> out) const;
  void write_turned(const Shown& how, const RgbView& sample, std::span<float> out) const;
  void write_objects(const Shown& how, std::int64_t row, std::size_t at, TensorMap& batch) const;

  std::shared_ptr<const CocoSet> set_;
  ReadPicture read_;
  DetectionBatchOptions options_;
  std::map<std::int64_t, std::int32_t> kinds_;  // by category
  Planes planes_;
};

// The most objects of a picture, at least 1.
std::int64_t most_objects(const CocoSet& set);

}  // namespace tessera::datasets
