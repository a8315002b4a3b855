#include "models/detector.h"

#include <algorithm>
#include <cmath>

#include "core/words.h"
#include "models/resnet.h"
#include "nn/box_losses.h"
#include "ops/build.h"

namespace tessera::models {

namespace {

constexpr double kBoxSides = 4;  // cells to a side of the box that a place stands for
// A score before training: so few places have an object that 1/2 would drown them (Lin et al.,
// ICCV 2017, section 4.1).
constexpr double kFirstScore = 0.01;

std::vector<Stage> stages_of(const DetectorOptions& options) {
  const std::int64_t channels = options.sample[0].value();
  if (options.backbone == Backbone::resnet18) return resnet_stages(18, Stem::imagenet, channels);
  const auto& widths = options.widths;
  nn::Sequential stem(
      conv({.in = channels, .out = widths[0], .kernel = 3, .stride = 2, .padding = 1}),
      nn::BatchNorm2d(widths[0]), nn::ReLU());
  std::vector<Stage> out = {{"stem", nn::share(std::move(stem)), widths[0], 2}};
  for (std::size_t i = 0; i < options.blocks.size(); ++i) {
    const Stage& before = out.back();
    nn::Sequential part;
    for (std::int64_t k = 0; k < options.blocks[i]; ++k) {
      part.add(std::to_string(k), k == 0 ? residual_block(before.channels, widths[i + 1], 2)
                                         : residual_block(widths[i + 1], widths[i + 1], 1));
    }
    out.push_back(
        {cat("layer", i + 1), nn::share(std::move(part)), widths[i + 1], 2 * before.stride});
  }
  return out;
}

// [batch, channels, h, w] -> [batch, h w, channels].
Value rows_of(Value x) {
  const std::int64_t channels = x.shape()[1].value(),
                     cells = x.shape()[2].value() * x.shape()[3].value();
  return ops::transpose(ops::reshape(x, {kBatch, channels, cells}), {0, 2, 1});
}

nn::Conv2d output_convolution(std::int64_t in, std::int64_t out, double bias) {
  nn::Conv2dOptions options;
  options.weight_init = nn::Init::normal(0.01f);
  options.bias_init = nn::Init::constant(static_cast<float>(bias));
  return nn::Conv2d(in, out, 1, options);
}

}  // namespace

Detector::Detector(DetectorOptions options) : options_(std::move(options)) {
  const nn::Size2d size = image_size("a detector", options_.sample);
  check(options_.kinds >= 1 && options_.channels >= 1 && options_.convolutions >= 0 &&
            options_.convolutions <= 16 && !options_.strides.empty(),
        "[detector] expected at least one kind of objects, channel and level, and 0 to 16 "
        "convolutions of a head, got ",
        options_.kinds, ", ", options_.channels, ", ", options_.strides.size(), " and ",
        options_.convolutions);
  const auto positive = [](std::int64_t n) { return n >= 1; };
  check(options_.widths.size() == options_.blocks.size() + 1 &&
            std::ranges::all_of(options_.widths, positive) &&
            std::ranges::all_of(options_.blocks, positive),
        "[detector] expected a width of the stem and of each part, and a block of each, got ",
        options_.widths.size(), " widths and ", options_.blocks.size(), " parts");
  const auto stages = stages_of(options_);
  const std::int64_t deepest = stages.back().stride;
  check(size.height % deepest == 0 && size.width % deepest == 0, "[detector] pictures of ",
        options_.sample.text(), ": sides must be multiples of ", deepest);
  for (std::size_t i = 0; i < options_.strides.size(); ++i) {
    const std::int64_t stride = options_.strides[i];
    check(std::ranges::any_of(stages, [&](const Stage& s) { return s.stride == stride; }) &&
              (i == 0 || stride == 2 * options_.strides[i - 1]),
          "[detector] expected strides of the backbone, each twice the one before, got ", stride);
  }
}

std::int64_t Detector::places() const {
  const nn::Size2d size = image_size("a detector", options_.sample);
  std::int64_t out = 0;
  for (const std::int64_t stride : options_.strides)
    out += (size.height / stride) * (size.width / stride);
  return out;
}

// Of all parts of the backbone from the first level on.
std::vector<Value> Detector::features(nn::Scope& scope, Value x) const {
  std::vector<Value> out;
  scope.in("backbone", [&] {
    for (const Stage& stage : stages_of(options_)) {
      x = scope.in(stage.name, [&] { return stage.module->forward(scope, x); });
      // The stem may be as wide as the part behind it, which then is the level.
      if (stage.stride < options_.strides.front()) continue;
      if (!out.empty() && out.back().shape()[2] == x.shape()[2])
        out.back() = x;
      else
        out.push_back(x);
    }
    return x;
  });
  return out;
}

// Every level gets what the coarser ones know.
std::vector<Value> Detector::pyramid(nn::Scope& scope, const std::vector<Value>& features) const {
  const std::int64_t channels = options_.channels;
  const auto norm_relu = [&](Value x) {
    x = scope.in("norm", [&] { return nn::BatchNorm2d(channels).forward(scope, x); });
    return scope.in("relu", [&] { return nn::ReLU().forward(scope, x); });
  };
  std::vector<Value> out(features.size());
  Value above;
  for (std::size_t i = features.size(); i-- > 0;) {
    const std::int64_t in = features[i].shape()[1].value();
    Value sum = scope.in(cat("lateral", i), [&] {
      return conv({.in = in, .out = channels, .kernel = 1}).forward(scope, features[i]);
    });
    if (above) sum = sum + ops::upsample2d(above, 2);
    above = out[i] = scope.in(cat("merge", i), [&] { return norm_relu(sum); });
  }
  out.resize(options_.strides.size());
  return out;
}

Value Detector::head(nn::Scope& scope, const std::string& name, std::size_t level, Value x,
                     std::int64_t outputs) const {
  const std::int64_t channels = options_.channels;
  // The first level makes the weights, the others read them.
  const auto shared = [&](const std::string& layer, const nn::Module& module, Value input) {
    const auto run = [&] { return scope.in(layer, [&] { return module.forward(scope, input); }); };
    return level == 0 ? run() : scope.tied(run);
  };
  return scope.in("head", [&] {
    return scope.in(name, [&] {
      for (std::int64_t i = 0; i < options_.convolutions; ++i) {
        x = scope.in(std::to_string(i), [&] {
          Value y = x;
          if (options_.separable) {
            y = shared("depthwise",
                       conv({.in = channels,
                             .out = channels,
                             .kernel = 3,
                             .padding = 1,
                             .groups = channels}),
                       y);
            y = shared("pointwise", conv({.in = channels, .out = channels, .kernel = 1}), y);
          } else {
            y = shared("conv", conv({.in = channels, .out = channels, .kernel = 3, .padding = 1}),
                       y);
          }
          y = scope.in(cat("norm", level),
                       [&] { return nn::BatchNorm2d(channels).forward(scope, y); });
          return scope.in("relu", [&] { return nn::ReLU().forward(scope, y); });
        });
      }
      const double bias = name == "score" ? -std::log((1 - kFirstScore) / kFirstScore) : 0;
      return rows_of(shared("output", output_convolution(channels, outputs, bias), x));
    });
  });
}

// [1, places, 6], data: no constant has more than one value.
Value Detector::priors(nn::Scope& scope) const {
  const nn::Size2d size = image_size("a detector", options_.sample);
  Tensor out(DType::f32, {1, places(), 6});
  auto at = out.span<float>().begin();
  for (const std::int64_t stride : options_.strides) {
    const double w = static_cast<double>(stride) / static_cast<double>(size.width),
                 h = static_cast<double>(stride) / static_cast<double>(size.height);
    for (std::int64_t y = 0; y < size.height / stride; ++y) {
      for (std::int64_t x = 0; x < size.width / stride; ++x) {
        for (const double v :
             {(static_cast<double>(x) + 0.5) * w, (static_cast<double>(y) + 0.5) * h, kBoxSides * w,
              kBoxSides * h, w, h})
          *at++ = static_cast<float>(v);
      }
    }
  }
  return scope.state("priors", out.shape(), nn::Init::values(out));
}

nn::Values Detector::forward(nn::Scope& scope, const nn::Values& inputs) const {
  const Value x = nn::require(inputs, "x", "the detector");
  Shape wanted{kBatch};
  for (const Dim d : options_.sample.dims()) wanted.push_back(d);
  check(x.shape() == wanted, "the detector reads x f32", wanted.text(), ", got ", x.type().text());
  const std::vector<Value> parts = features(scope, x);
  const std::vector<Value> levels = scope.in("pyramid", [&] { return pyramid(scope, parts); });
  std::vector<Value> scores, offsets;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    scores.push_back(head(scope, "score", i, levels[i], options_.kinds));
    offsets.push_back(head(scope, "box", i, levels[i], 4));
  }
  const auto joined = [](const std::vector<Value>& all) {
    return all.size() == 1 ? all[0] : ops::concat(all, 1);
  };
  const Value prior = ops::broadcast_to(priors(scope), {kBatch, places(), 6});
  return {{"boxes", nn::decode_boxes(joined(offsets), prior)},
          {"scores", ops::sigmoid(joined(scores))},
          {"priors", prior}};
}

const std::vector<NamedDetector>& detectors() {
  static const std::vector<NamedDetector> all = {
      {"small", "a million weights, levels of strides 4, 8 and 16", {}},
      {"tiny",
       "0.3 million weights, levels of strides 4, 8 and 16",
       {.widths = {16, 32, 64, 96, 128}, .blocks = {1, 1, 1, 1}, .channels = 48}},
      {"retina_r18",
       "ResNet-18 and heads of 3x3 convolutions, levels of strides 4 to 32",
       {.backbone = Backbone::resnet18,
        .strides = {4, 8, 16, 32},
        .channels = 64,
        .convolutions = 2,
        .separable = false}},
  };
  return all;
}

const NamedDetector& detector(std::string_view name) {
  std::vector<std::string> known;
  for (const NamedDetector& one : detectors()) {
    if (one.name == name) return one;
    known.push_back(one.name);
  }
  fail_unknown("network", name, known);
}

}  // namespace tessera::models
