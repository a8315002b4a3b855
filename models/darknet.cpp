#include "models/darknet.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "core/files/atomic_file.h"
#include "core/text.h"
#include "core/words.h"
#include "nn/conv.h"
#include "nn/norm.h"
#include "ops/build.h"

namespace tessera::models {

namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
constexpr std::int64_t kMostSide = 1 << 14, kMostChannels = 1 << 16, kMostLayers = 10'000,
                       kMostWindow = 64, kMostClasses = 10'000;
constexpr double kLeakySlope = 0.1;
constexpr double kEpsilon = 1e-5;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const auto begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  while (true) {
    const auto end = text.find(at);
    out.push_back(trimmed(text.substr(0, end)));
    if (end == text.npos) return out;
    text.remove_prefix(end + 1);
  }
}

// Options that matter to training, to other kinds of layers or to drawing.
bool is_idle(const std::string& section, const std::string& option) {
  static const std::map<std::string, std::vector<std::string>> known = {
      {"convolutional", {"stopbackward", "flipped", "bin_output", "xnor", "bflops"}},
      {"dropout", {"probability"}},
      {"yolo",
       {"classes",
        "num",
        "mask",
        "anchors",
        "jitter",
        "ignore_thresh",
        "truth_thresh",
        "random",
        "iou_thresh",
        "cls_normalizer",
        "iou_normalizer",
        "iou_loss",
        "nms_kind",
        "beta_nms",
        "max",
        "resize",
        "obj_normalizer",
        "label_smooth_eps",
        "max_delta",
        "delta_normalizer"}}};
  if (section == "net") return true;
  const auto found = known.find(section);
  return found != known.end() &&
         std::find(found->second.begin(), found->second.end(), option) != found->second.end();
}

Value activated(const std::string& kind, Value x) {
  if (kind == "leaky") return ops::leaky_relu(x, kLeakySlope);
  if (kind == "relu") return ops::relu(x);
  if (kind == "logistic") return ops::sigmoid(x);
  if (kind == "swish") return ops::silu(x);
  if (kind == "mish") return x * ops::tanh(ops::softplus(x));
  return x;
}

const std::vector<std::string> kActivations = {"linear",   "leaky", "relu",
                                               "logistic", "swish", "mish"};

}  // namespace

// A section of the file, and which of its options were asked for.
struct Darknet::Section {
  const std::string& file;
  std::string type;
  std::int64_t line;
  std::map<std::string, std::pair<std::string, std::int64_t>> options = {};
  mutable std::vector<std::string> asked = {};

  template <class... Args>
  [[noreturn]] void stop(std::int64_t at, const Args&... message) const {
    fail(file, ":", at, ": [", type, "] ", message...);
  }
  std::string text(const std::string& option, const std::string& otherwise) const {
    asked.push_back(option);
    const auto found = options.find(option);
    return found == options.end() ? otherwise : found->second.first;
  }
  std::int64_t line_of(const std::string& option) const {
    const auto found = options.find(option);
    return found == options.end() ? line : found->second.second;
  }
  double number(const std::string& option, std::string_view text) const {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
      stop(line_of(option), option, ": expected a number, got ", quote(std::string(text)));
    return value;
  }
  double real(const std::string& option, double otherwise) const {
    const std::string value = text(option, "");
    return value.empty() ? otherwise : number(option, value);
  }
  std::int64_t whole(const std::string& option, std::string_view value, std::int64_t least,
                     std::int64_t most) const {
    const double v = number(option, value);
    if (v != std::floor(v) || v < static_cast<double>(least) || v > static_cast<double>(most))
      stop(line_of(option), option, ": expected a whole number from ", least, " to ", most,
           ", got ", quote(std::string(value)));
    return static_cast<std::int64_t>(v);
  }
  std::int64_t integer(const std::string& option, std::int64_t otherwise, std::int64_t least,
                       std::int64_t most) const {
    const std::string value = text(option, "");
    return value.empty() ? otherwise : whole(option, value, least, most);
  }
  std::vector<std::string_view> list(const std::string& option) const {
    asked.push_back(option);
    const auto found = options.find(option);
    if (found == options.end()) stop(line, "needs ", option);
    return split(found->second.first, ',');
  }
  // After all options were asked for.
  void finish() const {
    for (const auto& [option, value] : options) {
      if (std::find(asked.begin(), asked.end(), option) == asked.end() && !is_idle(type, option))
        stop(value.second, "the option ", quote(option), " is not understood");
    }
  }
};

Darknet::Darknet(const std::filesystem::path& cfg)
    : Darknet(parse(read_file(cfg, kMostBytes), cfg.string())) {}

Darknet Darknet::parse(std::string_view text, std::string name) {
  Darknet out;
  out.name_ = std::move(name);
  std::vector<Section> sections;
  std::int64_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty() || line.starts_with(';')) continue;
    if (line.starts_with('[')) {
      check(line.ends_with(']'), out.name_, ":", number, ": expected [SECTION]");
      sections.push_back({out.name_, std::string(line.substr(1, line.size() - 2)), number});
      check(std::ssize(sections) <= kMostLayers, out.name_, ": more than ", kMostLayers, " layers");
      continue;
    }
    const auto equals = line.find('=');
    check(equals != line.npos, out.name_, ":", number, ": expected OPTION=VALUE, got ",
          quote(std::string(line.substr(0, 40))));
    check(!sections.empty(), out.name_, ":", number, ": an option before the first section");
    const std::string option(trimmed(line.substr(0, equals)));
    if (!sections.back()
             .options
             .emplace(option, std::pair(std::string(trimmed(line.substr(equals + 1))), number))
             .second) {
      sections.back().stop(number, option, " is there twice");
    }
  }
  check(!sections.empty() && (sections[0].type == "net" || sections[0].type == "network"),
        out.name_, ": expected [net] as the first section");
  const Section& net = sections[0];
  out.channels_ = net.integer("channels", 3, 1, kMostChannels);
  out.height_ = net.integer("height", 0, 1, kMostSide);
  out.width_ = net.integer("width", 0, 1, kMostSide);
  if (out.height_ == 0 || out.width_ == 0) net.stop(net.line, "needs height and width");
  for (std::size_t i = 1; i < sections.size(); ++i) out.add(sections[i]);
  check(out.classes_ > 0, out.name_, ": has no [yolo] layer: not a detector");
  return out;
}

std::int64_t Darknet::windows(const Section& s, const Layer& l, std::int64_t side) {
  const std::int64_t left = side + 2 * l.padding - l.size;
  if (left < 0) s.stop(s.line, "a window of ", l.size, " does not fit on ", side, " pixels");
  return left / l.stride + 1;
}

void Darknet::read_convolution(const Section& s, Layer& l) {
  l.size = s.integer("size", 1, 1, kMostWindow);
  l.stride = s.integer("stride", 1, 1, kMostWindow);
  l.groups = s.integer("groups", 1, 1, kMostChannels);
  const std::int64_t padding = s.integer("padding", 0, 0, kMostWindow);
  l.padding = s.integer("pad", 0, 0, 1) ? l.size / 2 : padding;
  l.norm = s.integer("batch_normalize", 0, 0, 1) != 0;
  l.channels = s.integer("filters", 1, 1, kMostChannels);
  l.activation = s.text("activation", "logistic");
  if (std::ranges::find(kActivations, l.activation) == kActivations.end()) {
    s.stop(s.line_of("activation"), "the activation ", quote(l.activation),
           " is unknown; there are ", listed(kActivations));
  }
  if (l.in % l.groups != 0 || l.channels % l.groups != 0) {
    s.stop(s.line_of("groups"), l.in, " and ", l.channels, " channels in ", l.groups, " groups");
  }
  l.height = windows(s, l, l.height);
  l.width = windows(s, l, l.width);
}

void Darknet::read_pool(const Section& s, Layer& l) {
  l.stride = s.integer("stride", 1, 1, kMostWindow);
  l.size = s.integer("size", l.stride, 1, kMostWindow);
  const std::int64_t both = s.integer("padding", l.size - 1, 0, 2 * kMostWindow);
  if (both % 2 != 0 || both / 2 >= l.size) {
    s.stop(s.line, "padding of ", both, " around windows of ", l.size, " is not supported");
  }
  l.padding = both / 2;
  l.height = windows(s, l, l.height);
  l.width = windows(s, l, l.width);
}

void Darknet::read_joint(const Section& s, Layer& l) const {
  const bool route = s.type == "route";
  const std::string option = route ? "layers" : "from";
  const auto here = std::ssize(layers_);
  if (here == 0) s.stop(s.line, "there is no layer before it");
  for (const std::string_view value : s.list(option)) {
    const std::int64_t at = s.whole(option, value, -here, here - 1);
    l.from.push_back(at < 0 ? here + at : at);
  }
  if (!route) {
    l.activation = s.text("activation", "linear");
    if (l.activation != "linear" || l.from.size() != 1)
      s.stop(s.line, "only sums of two layers, without an activation, are supported");
  }
  const Layer& first = layers_[static_cast<std::size_t>(l.from[0])];
  if (route) l.height = first.height, l.width = first.width, l.channels = 0;
  for (const std::int64_t at : l.from) {
    const Layer& layer = layers_[static_cast<std::size_t>(at)];
    if (layer.height != l.height || layer.width != l.width ||
        (!route && layer.channels != l.channels) || layer.type == "yolo") {
      s.stop(s.line_of(option), "layer ", at, " gives ", layer.channels, " x ", layer.height, " x ",
             layer.width, ", expected ", l.height, " x ", l.width,
             route ? "" : cat(" of ", l.channels, " channels"));
    }
    if (route) l.channels += layer.channels;
  }
  if (l.channels > kMostChannels) s.stop(s.line, "makes more than ", kMostChannels, " channels");
}

void Darknet::read_yolo(const Section& s, Layer& l) {
  const std::int64_t classes = s.integer("classes", 20, 1, kMostClasses);
  if (classes_ != 0 && classes != classes_)
    s.stop(s.line_of("classes"), classes, " where the layer before has ", classes_);
  classes_ = classes;
  l.scale = s.real("scale_x_y", 1);
  std::vector<double> sides;
  for (const std::string_view value : s.list("anchors")) {
    const double side = s.number("anchors", value);
    if (!(side > 0 && side <= kMostSide)) s.stop(s.line_of("anchors"), "no side: ", side);
    sides.push_back(side);
  }
  for (const std::string_view value : s.list("mask")) {
    const std::int64_t at = s.whole("mask", value, 0, std::ssize(sides) / 2 - 1);
    l.anchors.emplace_back(sides[static_cast<std::size_t>(2 * at)],
                           sides[static_cast<std::size_t>(2 * at + 1)]);
  }
  const auto wanted = std::ssize(l.anchors) * (5 + classes_);
  if (l.channels != wanted) {
    s.stop(s.line, "reads ", l.channels, " channels, expected ", wanted, ": ", l.anchors.size(),
           " anchors of 5 + ", classes_);
  }
}

void Darknet::add(const Section& s) {
  Layer l;
  l.type = s.type;
  // The layer before, or the input.
  l.channels = layers_.empty() ? channels_ : layers_.back().channels;
  l.height = layers_.empty() ? height_ : layers_.back().height;
  l.width = layers_.empty() ? width_ : layers_.back().width;
  l.in = l.channels;
  if (s.type == "convolutional") {
    read_convolution(s, l);
  } else if (s.type == "maxpool") {
    read_pool(s, l);
  } else if (s.type == "upsample") {
    l.stride = s.integer("stride", 2, 1, kMostWindow);
    l.height *= l.stride;
    l.width *= l.stride;
    if (std::max(l.height, l.width) > kMostSide)
      s.stop(s.line, "makes more than ", kMostSide, " rows");
  } else if (s.type == "shortcut" || s.type == "route") {
    read_joint(s, l);
  } else if (s.type == "yolo") {
    read_yolo(s, l);
  } else if (s.type != "dropout") {
    s.stop(s.line, "this kind of layer is unknown");
  }
  s.finish();
  layers_.push_back(std::move(l));
}

std::int64_t Darknet::places() const {
  std::int64_t out = 0;
  for (const Layer& l : layers_) {
    if (l.type == "yolo") out += std::ssize(l.anchors) * l.height * l.width;
  }
  return out;
}

Value Darknet::layer(nn::Scope& scope, std::size_t i, const std::vector<Value>& made,
                     Value before) const {
  const Layer& l = layers_[i];
  const auto at = [&](std::int64_t j) { return made[static_cast<std::size_t>(j)]; };
  if (l.type == "convolutional") {
    Value y = scope.in("conv", [&] {
      nn::Conv2dOptions options{.stride = l.stride, .padding = l.padding, .groups = l.groups};
      options.bias = !l.norm;
      return nn::Conv2d(l.in, l.channels, l.size, options).forward(scope, before);
    });
    if (l.norm) {
      y = scope.in("norm", [&] {
        return nn::BatchNorm2d(l.channels, {.epsilon = kEpsilon}).forward(scope, y);
      });
    }
    if (l.activation == "linear") return y;
    return scope.in("act", [&] { return scope.activation(activated(l.activation, y)); });
  }
  if (l.type == "maxpool") {
    return nn::MaxPool2d(l.size, {.stride = l.stride, .padding = l.padding}).forward(scope, before);
  }
  if (l.type == "upsample") return ops::upsample2d(before, l.stride);
  if (l.type == "shortcut") return before + at(l.from[0]);
  if (l.type == "route") {
    std::vector<Value> parts;
    for (const std::int64_t j : l.from) parts.push_back(at(j));
    return parts.size() == 1 ? parts[0] : ops::concat(parts, 1);
  }
  return before;  // dropout, yolo
}

void Darknet::decode(nn::Scope& scope, const Layer& l, Value x,
                     std::map<std::string, std::vector<Value>>& out) const {
  const std::int64_t anchors = std::ssize(l.anchors), cells = l.height * l.width,
                     places = anchors * cells, fields = 5 + classes_;
  // Cells and sizes of anchors are data: no constant has more than one value.
  Tensor cell(DType::f32, {1, places, 2}), size(DType::f32, {1, places, 2});
  for (std::int64_t p = 0; p < places; ++p) {
    const auto [width, height] = l.anchors[static_cast<std::size_t>(p / cells)];
    const auto i = static_cast<std::size_t>(2 * p);
    cell.span<float>()[i] = static_cast<float>(p % l.width);
    cell.span<float>()[i + 1] = static_cast<float>(p % cells / l.width);
    size.span<float>()[i] = static_cast<float>(width / static_cast<double>(width_));
    size.span<float>()[i + 1] = static_cast<float>(height / static_cast<double>(height_));
  }
  Tensor cells_wide = Tensor::from(
      std::vector<float>{1.0f / static_cast<float>(l.width), 1.0f / static_cast<float>(l.height)},
      Shape{1, 1, 2});
  const auto data = [&](const char* name, const Tensor& tensor) {
    return scope.state(name, tensor.shape(), nn::Init::values(tensor));
  };
  const Value at = data("cell", cell), step = data("step", cells_wide),
              anchor = data("anchor", size);
  const Value rows =
      ops::reshape(ops::transpose(ops::reshape(x, {kBatch, anchors, fields, cells}), {0, 1, 3, 2}),
                   {kBatch, places, fields});
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    return ops::slice(rows, 2, begin, end);
  };
  const Value inside = ops::sigmoid(part(0, 2)) * l.scale - (l.scale - 1) / 2;
  out["boxes"].push_back(ops::concat({(inside + at) * step, ops::exp(part(2, 4)) * anchor}, 2));
  out["scores"].push_back(ops::sigmoid(part(4, 5)) * ops::sigmoid(part(5, fields)));
  const Value prior =
      ops::concat({(at + 0.5) * step, anchor, ops::broadcast_to(step, {1, places, 2})}, 2);
  out["priors"].push_back(ops::broadcast_to(prior, {kBatch, places, 6}));
}

nn::Values Darknet::forward(nn::Scope& scope, const nn::Values& inputs) const {
  Value x = nn::require(inputs, "x", name_);
  check(x.shape() == Shape({kBatch, channels_, height_, width_}), name_, " reads x f32[batch,",
        channels_, ",", height_, ",", width_, "], got ", x.type().text());
  std::vector<Value> made;
  std::map<std::string, std::vector<Value>> outputs;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    x = scope.in(std::to_string(i), [&] {
      const Value y = layer(scope, i, made, x);
      if (layers_[i].type == "yolo") decode(scope, layers_[i], y, outputs);
      return y;
    });
    made.push_back(x);
  }
  nn::Values out;
  for (const auto& [name, parts] : outputs)
    out.emplace(name, parts.size() == 1 ? parts[0] : ops::concat(parts, 1));
  return out;
}

State Darknet::read_weights(const std::filesystem::path& file) const {
  static_assert(std::endian::native == std::endian::little, "darknet's files are little-endian");
  const std::string bytes = read_file(file, kMostBytes);
  constexpr std::size_t kVersion = 12;
  check(bytes.size() >= kVersion + 8, file.string(), ": has ", bytes.size(),
        " bytes, too few for darknet weights");
  std::int32_t version[2];
  std::memcpy(version, bytes.data(), sizeof(version));
  check(version[0] >= 0 && version[0] < 1000 && version[1] >= 0 && version[1] < 1000, file.string(),
        ": no darknet weights: its version is ", version[0], ".", version[1]);
  // The pictures seen in training: 8 bytes from version 0.2 on.
  std::size_t at = kVersion + (version[0] * 10 + version[1] >= 2 ? 8 : 4);
  State out;
  const auto take = [&](const std::string& name, const Shape& shape) {
    Tensor tensor(DType::f32, shape);
    const auto n = static_cast<std::size_t>(tensor.bytes());
    check(bytes.size() - at >= n, file.string(), ": ends within '", name, "', which needs ", n,
          " bytes at ", at, " of ", bytes.size());
    std::memcpy(tensor.data(), bytes.data() + at, n);
    at += n;
    for (const float v : tensor.span<float>())
      check(std::isfinite(v), file.string(), ": '", name, "' has a value that is not finite");
    out.set(name, std::move(tensor));
  };
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& l = layers_[i];
    if (l.type != "convolutional") continue;
    const std::string conv = cat(i, ".conv."), norm = cat(i, ".norm.");
    take(l.norm ? norm + "bias" : conv + "bias", {l.channels});
    if (l.norm) {
      take(norm + "weight", {l.channels});
      take(norm + "running_mean", {l.channels});
      take(norm + "running_var", {l.channels});
    }
    take(conv + "weight", {l.channels, l.in / l.groups, l.size, l.size});
  }
  check(at == bytes.size(), file.string(), ": has ", bytes.size() - at,
        " bytes more than the layers of ", name_, " want");
  return out;
}

}  // namespace tessera::models
