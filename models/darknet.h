// Detectors in darknet's files: a .cfg that says what the layers are, and a .weights with their
// numbers (github.com/AlexeyAB/darknet; YOLO, Redmon et al. 2016 to Bochkovskiy et al. 2020).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/state.h"
#include "nn/network.h"

namespace tessera::models {

// Of the layers there are: convolutional (leaky, linear, relu, logistic, mish and swish), maxpool,
// shortcut, route, upsample, dropout (nothing, when it runs) and yolo. Input "x" f32 [batch,
// channels, height, width], RGB in [0, 1]. Outputs over the places of all yolo layers, in the order
// of the layers, in each anchor by anchor and row by row:
//   "boxes" f32 [batch, places, 4]: centre, width and height as shares of the picture
//   "scores" f32 [batch, places, classes]: objectness times the class's probability
//   "priors" f32 [batch, places, 6]: the cell's centre and the anchor's size, then the cell's size
// Parameters are "I.conv.weight", "I.conv.bias", "I.norm.weight", ... for layer I of the file,
// counted as darknet does.
class Darknet final : public nn::Network {
 public:
  // Throws Error, naming the file, line and option, for sections and options that are not known or
  // not understood, layers that are not there, and shapes that do not fit.
  explicit Darknet(const std::filesystem::path& cfg);
  static Darknet parse(std::string_view text, std::string name);

  nn::Values forward(nn::Scope& scope, const nn::Values& inputs) const override;

  Shape sample() const { return {channels_, height_, width_}; }
  std::int64_t classes() const { return classes_; }
  std::int64_t places() const;

  // The numbers of a .weights file as parameters and states of the network. Throws Error, naming
  // the file, where it has more or fewer of them than the layers want, or one that is not finite.
  State read_weights(const std::filesystem::path& file) const;

 private:
  struct Layer {
    std::string type;
    std::int64_t channels = 0, height = 0, width = 0;  // of its result
    // convolutional, maxpool, upsample
    std::int64_t in = 0, size = 1, stride = 1, padding = 0, groups = 1;
    bool norm = false;
    std::string activation = "linear";
    std::vector<std::int64_t> from = {};                  // route, shortcut: layers
    std::vector<std::pair<double, double>> anchors = {};  // yolo: width and height, in pixels
    double scale = 1;                                     // yolo: scale_x_y
  };
  struct Section;

  Darknet() = default;
  void add(const Section& section);
  static std::int64_t windows(const Section& section, const Layer& layer, std::int64_t side);
  static void read_convolution(const Section& section, Layer& layer);
  static void read_pool(const Section& section, Layer& layer);
  void read_joint(const Section& section, Layer& layer) const;
  void read_yolo(const Section& section, Layer& layer);
  Value layer(nn::Scope& scope, std::size_t i, const std::vector<Value>& made, Value before) const;
  void decode(nn::Scope& scope, const Layer& layer, Value x,
              std::map<std::string, std::vector<Value>>& out) const;

  std::string name_;
  std::int64_t channels_ = 0, height_ = 0, width_ = 0, classes_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace tessera::models
