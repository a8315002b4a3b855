#include "core/boxes.h"

#include <algorithm>

#include "core/error.h"

namespace tessera {

double intersection_over_union(const Box& detection, const Box& truth, bool crowd) {
  const double width = std::min(detection.x + detection.width, truth.x + truth.width) -
                       std::max(detection.x, truth.x);
  const double height = std::min(detection.y + detection.height, truth.y + truth.height) -
                        std::max(detection.y, truth.y);
  if (width <= 0 || height <= 0) return 0;
  const double both = width * height;
  return both / (crowd ? detection.area() : detection.area() + truth.area() - both);
}

Frame Frame::of(std::span<const float> n) {
  check(n.size() == 6, "a frame has six numbers, got ", n.size());
  const auto at = [&](std::size_t i) { return static_cast<double>(n[i]); };
  return {at(0), at(1), at(2), at(3), at(4), at(5)};
}

std::array<float, 6> Frame::numbers() const {
  return {static_cast<float>(x),
          static_cast<float>(y),
          static_cast<float>(width),
          static_cast<float>(height),
          static_cast<float>(picture_width),
          static_cast<float>(picture_height)};
}

Box Frame::box(std::span<const float> shares) const {
  const auto at = [&](std::size_t i) { return static_cast<double>(shares[i]); };
  return {x + (at(0) - at(2) / 2) * width, y + (at(1) - at(3) / 2) * height, at(2) * width,
          at(3) * height};
}

std::array<float, 4> Frame::shares(const Box& box) const {
  return {static_cast<float>((box.x + box.width / 2 - x) / width),
          static_cast<float>((box.y + box.height / 2 - y) / height),
          static_cast<float>(box.width / width), static_cast<float>(box.height / height)};
}

Box Frame::clipped(const Box& box) const {
  const double left = std::clamp(box.x, 0.0, picture_width),
               top = std::clamp(box.y, 0.0, picture_height);
  return {left, top, std::clamp(box.x + box.width, 0.0, picture_width) - left,
          std::clamp(box.y + box.height, 0.0, picture_height) - top};
}

std::vector<Field> detection_fields(std::int64_t kinds, std::int64_t most) {
  return {{"boxes", DType::f32, {most, 4}, 0, "objects"},
          {"kinds", DType::s32, {most}, kinds, "objects"},
          {"areas", DType::f32, {most}, 0, "objects"},
          {"crowds", DType::s32, {most}, 2, "objects"},
          {"ids", DType::s32, {most}, 0, "objects"},
          {"objects", DType::s32, {}, most + 1},
          {"frame", DType::f32, {6}}};
}

}  // namespace tessera
