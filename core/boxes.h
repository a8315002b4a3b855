// Boxes in images, as detection sets have them and detectors give them.
#pragma once

#include <cstdint>

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

}  // namespace tessera
