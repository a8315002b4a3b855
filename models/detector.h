// Detectors without anchors: a backbone, a feature pyramid (Lin et al., CVPR 2017) and heads that
// all its levels share, one prediction for each cell (Tian et al., ICCV 2019: FCOS).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nn/network.h"

namespace tessera::models {

enum class Backbone { residual, resnet18 };

struct DetectorOptions {
  Backbone backbone = Backbone::residual;
  // Of Backbone::residual: channels of the stem and of the parts behind it, each of which halves
  // the sides, and how many residual blocks a part has.
  std::vector<std::int64_t> widths = {16, 48, 64, 128, 128};
  std::vector<std::int64_t> blocks = {1, 2, 2, 1};
  Shape sample = {3, 128, 128};
  std::int64_t kinds = 8;
  std::vector<std::int64_t> strides = {4, 8, 16};  // of the levels; neighbours differ by a factor 2
  std::int64_t channels = 64;                      // of pyramid and heads
  std::int64_t convolutions = 2;                   // of each head, before its output
  bool separable = true;  // each a depthwise and a 1x1 convolution, else 3x3
};

// Input "x" f32 [batch, channels, height, width], outputs as nn::Detection wants them, place by
// place: levels in order of their strides, in each row by row. A place of stride s stands for boxes
// of side 4 s. Heads share their convolutions ("head.box.0.weight"); each level has batch-norms of
// its own ("head.box.0.norm1"), whose statistics differ.
class Detector final : public nn::Network {
 public:
  // Throws Error for options that cannot be: strides that the backbone does not reach or that do
  // not divide the sides, a part without a width or blocks.
  explicit Detector(DetectorOptions options);
  nn::Values forward(nn::Scope& scope, const nn::Values& inputs) const override;
  std::int64_t places() const;

 private:
  std::vector<Value> features(nn::Scope& scope, Value x) const;
  std::vector<Value> pyramid(nn::Scope& scope, const std::vector<Value>& features) const;
  Value head(nn::Scope& scope, const std::string& name, std::size_t level, Value x,
             std::int64_t outputs) const;
  Value priors(nn::Scope& scope) const;

  DetectorOptions options_;
};

struct NamedDetector {
  std::string name, description;
  DetectorOptions options;
};
const std::vector<NamedDetector>& detectors();
// Throws Error listing the names for one that is unknown.
const NamedDetector& detector(std::string_view name);

}  // namespace tessera::models
