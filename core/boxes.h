// Boxes in images, as detection sets have them and detectors give them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/fields.h"

namespace tessera {

// In pixels of the image: its left upper corner and its sides, which may be fractions.
struct Box {
  double x = 0, y = 0, width = 0, height = 0;
  double area() const { return width * height; }
  friend bool operator==(const Box&, const Box&) = default;
};

// What is in an image.
struct TrueBox {
  Box box;
  std::int64_t category = 0;  // COCO's number of it
  double area = 0;            // of the object itself, which has holes and corners
  bool crowd = false;         // many objects in one box
  std::int64_t id = 0;        // of the annotation
};

// What a detector says is there.
struct DetectedBox {
  Box box;
  std::int64_t category = 0;
  double score = 0;
};

// The share of a union of two boxes that both cover, in [0, 1]. Of a crowd it is the share of the
// detection.
double intersection_over_union(const Box& detection, const Box& truth, bool crowd = false);

// Where a network's input lies in a picture, whose parts and borders it may show, and how large the
// picture is; in pixels of the picture. Boxes of a network are shares of its input.
struct Frame {
  double x = 0, y = 0, width = 1, height = 1;
  double picture_width = 1, picture_height = 1;

  static Frame whole(double width, double height) { return {0, 0, width, height, width, height}; }
  // From and to six numbers in this order.
  static Frame of(std::span<const float> numbers);
  std::array<float, 6> numbers() const;
  // A box (centre, width and height as shares of the input) in the picture, and back.
  Box box(std::span<const float> shares) const;
  std::array<float, 4> shares(const Box& box) const;
  // The part of a box that is in the picture.
  Box clipped(const Box& box) const;
};

// What a sample says of the objects in it, padded to `most` rows: "boxes" f32 [most, 4] (shares of
// the input, as Frame has them), "kinds" s32 [most] in [0, kinds), "areas" f32 [most] (pixels of
// the picture), "crowds" s32 [most] (1: many objects in one box), "ids" s32 [most] (0: COCO's
// annotation 0, which nothing matches), "objects" s32 (how many there are) and "frame" f32 [6].
std::vector<Field> detection_fields(std::int64_t kinds, std::int64_t most);

}  // namespace tessera
