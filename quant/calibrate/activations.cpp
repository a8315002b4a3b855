#include "quant/calibrate/activations.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <sstream>
#include <vector>

#include "core/compile.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "core/values.h"
#include "nn/evaluator.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/calibrate/calibration.h"

namespace tessera::quant {

namespace {

using Place = ActivationOptions::Place;

// What the ends of a range are called, and what stands there.
struct OwnNames {
  const char *low, *high, *what;
};
constexpr OwnNames kInputs = {".input_low", ".input_high", "input"};
constexpr OwnNames kOutputs = {".output_low", ".output_high", "output"};

const OwnNames& names(Place place) {
  return place == Place::inputs ? kInputs : kOutputs;
}
constexpr std::int64_t kBatchSize = 16;
constexpr std::size_t kMostValues = std::size_t{1} << 20;  // kept of a layer
constexpr int kTries = 100;                                // shrunken ranges that mse looks at

double levels(int bits) {
  return static_cast<double>((1 << bits) - 1);
}

// Moves both ends so that zero is a level.
ActivationRange with_zero(double low, double high, int bits) {
  low = std::min(low, 0.0);
  high = std::max(high, 0.0);
  if (!(high > low)) return {0, 1};  // nothing but zeros
  const double step = (high - low) / levels(bits);
  low = -std::nearbyint(-low / step) * step;
  return {low, low + levels(bits) * step};
}

double squared_error(std::span<const float> values, const ActivationRange& range, int bits) {
  const double step = (range.high - range.low) / levels(bits);
  double sum = 0;
  for (const float v : values) {
    const double inside = std::clamp<double>(v, range.low, range.high);
    const double d = range.low + step * std::nearbyint((inside - range.low) / step) - v;
    sum += d * d;
  }
  return sum;
}

// What a layer input rounds to; its gradient is that of x inside the range.
Value rounded(Value x, double steps) {
  return x + ops::detach(ops::round(x * steps) * (1 / steps) - x);
}

nn::Scope::Hook hook(const nn::Scope& scope, Place place) {
  return place == Place::inputs ? scope.input_hook() : scope.activation_hook();
}

void set_hook(nn::Scope& scope, Place place, nn::Scope::Hook hook) {
  if (place == Place::inputs) {
    scope.set_input_hook(std::move(hook));
  } else {
    scope.set_activation_hook(std::move(hook));
  }
}

void require_any(bool any, Place place) {
  check(any, "the network has no ",
        place == Place::inputs ? "layer with weights whose input"
                               : "activation function whose output",
        " could be quantized");
}

// Runs `network` on the data and hands all that stands at such places to `see`, batch by batch.
template <class See>
void walk(const nn::Network& network, const nn::Task& task, const State& weights,
          const CalibrationSet& samples, Place place, See&& see) {
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph);
  std::vector<std::string> layers;  // of the outputs "0", "1", ...: recurrent ones come often
  set_hook(scope, place, [&](nn::Scope&, const std::string& layer, Value x) {
    graph.set_output(std::to_string(layers.size()), x);
    layers.push_back(layer);
    return x;
  });
  network.forward(scope, nn::network_inputs(graph, task));
  require_any(!layers.empty(), place);
  std::optional<Plan> plan;
  std::int64_t rows = 0;
  for (std::int64_t first = 0; first < samples.samples(); first += rows) {
    stop_if_interrupted();
    const std::int64_t n = std::min(kBatchSize, samples.samples() - first);
    if (n != rows) plan.emplace(compile(graph, weights, {.batch = n}));
    rows = n;
    const auto outputs = plan->run(samples.inputs(*plan, first, n));
    for (std::size_t i = 0; i < layers.size(); ++i)
      see(layers[i], outputs.at(std::to_string(i)).template span<float>());
  }
}

}  // namespace

const Names<ActivationOptions::Kind>& ActivationOptions::kinds() {
  static const Names<Kind> all("activation quantizer", {{"dorefa", Kind::dorefa},
                                                        {"minmax", Kind::minmax},
                                                        {"percentile", Kind::percentile},
                                                        {"mse", Kind::mse},
                                                        {"learned", Kind::learned}});
  return all;
}

const Names<Place>& ActivationOptions::places() {
  static const Names<Place> all("place of quantized activations",
                                {{"inputs", Place::inputs}, {"activations", Place::activations}});
  return all;
}

ActivationRange fit_range(std::span<const float> values, const ActivationOptions& options) {
  check(!values.empty(), "no values to fit a range to");
  std::vector<float> sorted(values.begin(), values.end());
  for (const float v : sorted) check(std::isfinite(v), "a value is ", v);
  std::sort(sorted.begin(), sorted.end());
  const double least = sorted.front(), most = sorted.back();
  const auto at = [&](double share) {
    return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
  };
  switch (options.kind) {
    case ActivationOptions::Kind::minmax:
      return with_zero(least, most, options.bits);
    case ActivationOptions::Kind::percentile:
      return with_zero(at(1 - options.share), at(options.share), options.bits);
    default:
      break;
  }
  ActivationRange best = with_zero(least, most, options.bits);
  double error = squared_error(values, best, options.bits);
  for (int i = 1; i < kTries; ++i) {
    stop_if_interrupted();
    const double share = 1 - static_cast<double>(i) / kTries;
    const ActivationRange range = with_zero(share * least, share * most, options.bits);
    const double e = squared_error(values, range, options.bits);
    if (e < error) error = e, best = range;
  }
  return best;
}

std::string text(const ActivationRanges& ranges) {
  std::string out;
  for (const auto& [name, range] : ranges)
    out += cat(name, " ", exact(range.low), " ", exact(range.high), "\n");
  return out;
}

ActivationRanges parse_activation_ranges(const std::string& text) {
  ActivationRanges out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name, low, high, rest;
    words >> name >> low >> high;
    const ActivationRange range = naming("the range of " + quote(name), [&] {
      return ActivationRange{number_of(low), number_of(high)};
    });
    check(!(words >> rest) && std::isfinite(range.high - range.low) && range.low < range.high,
          "expected the name of a place and a range of its activations, got ", quote(line));
    check(out.emplace(name, range).second, "the range of ", quote(name), " stands twice");
  }
  return out;
}

QuantizedActivations::QuantizedActivations(std::shared_ptr<const nn::Network> network,
                                           ActivationOptions options, ActivationRanges ranges)
    : network_(std::move(network)), options_(options), ranges_(std::move(ranges)) {
  check(options.bits >= 1 && options.bits <= 8, "activations take 1 to 8 bits, got ", options.bits);
}

Value QuantizedActivations::quantize(nn::Scope& scope, const std::string& path,
                                     const std::string& place, Value x) const {
  const double n = levels(options_.bits);
  if (options_.kind == ActivationOptions::Kind::dorefa) return rounded(ops::clamp(x, 0.0, 1.0), n);
  const OwnNames& own = names(options_.place);
  // A network that is part of another has its names behind the path of that (a teacher).
  const auto range = ranges_.find(path.empty() ? place : place.substr(path.size() + 1));
  check(range != ranges_.end(), "'", place, "': its ", own.what, " has no calibrated range");
  const auto [low, high] = range->second;
  if (options_.kind != ActivationOptions::Kind::learned)
    return low + (high - low) * rounded((ops::clamp(x, low, high) - low) * (1 / (high - low)), n);
  const auto end = [&](const char* name, double start) {
    return scope.global_param(place + name, {}, nn::Init::constant(static_cast<float>(start)));
  };
  const Value bottom = end(own.low, low), width = end(own.high, high) - bottom;
  return bottom + width * rounded(ops::clamp((x - bottom) / width, 0.0, 1.0), n);
}

nn::Values QuantizedActivations::forward(nn::Scope& scope, const nn::Values& inputs) const {
  const nn::Scope::Hook outer = hook(scope, options_.place);
  const bool skips = options_.skip_first && options_.place == Place::inputs;
  std::optional<std::string> first;
  const std::string path = scope.path();
  set_hook(scope, options_.place, [&](nn::Scope& s, const std::string& place, Value value) {
    if (outer) value = outer(s, place, value);
    if (!first) first = place;
    return skips && place == *first ? value : quantize(s, path, place, value);
  });
  nn::Values outputs = network_->forward(scope, inputs);
  set_hook(scope, options_.place, outer);
  require_any(first.has_value(), options_.place);
  return outputs;
}

ActivationRanges calibrate_activations(const nn::Network& network, const nn::Task& task,
                                       const State& weights, const BatchSource& data,
                                       const ActivationOptions& options) {
  const CalibrationSet samples(data, options.samples);
  std::map<std::string, std::vector<float>> seen;
  walk(network, task, weights, samples, options.place,
       [&](const std::string& layer, std::span<const float> values) {
         auto& kept = seen[layer];
         // Evenly over all batches.
         const std::size_t room =
             kMostValues * kBatchSize / static_cast<std::size_t>(samples.samples());
         const std::size_t step = std::max<std::size_t>(1, values.size() / (room + 1));
         for (std::size_t i = 0; i < values.size(); i += step) kept.push_back(values[i]);
       });
  ActivationRanges out;
  for (const auto& [layer, values] : seen) {
    try {
      out.emplace(layer, fit_range(values, options));
    } catch (const Error& error) {
      fail(names(options.place).what, " of '", layer, "': ", error.what());
    }
  }
  return out;
}

std::shared_ptr<const QuantizedActivations> quantize_activations(
    std::shared_ptr<const nn::Network> network, const nn::Task& task, const State& weights,
    const BatchSource& data, const ActivationOptions& options) {
  ActivationRanges ranges;
  if (options.kind != ActivationOptions::Kind::dorefa)
    ranges = calibrate_activations(*network, task, weights, data, options);
  return std::make_shared<QuantizedActivations>(std::move(network), options, std::move(ranges));
}

bool is_activation_range(const std::string& parameter) {
  for (const OwnNames& n : {kInputs, kOutputs}) {
    if (parameter.ends_with(n.low) || parameter.ends_with(n.high)) return true;
  }
  return false;
}

}  // namespace tessera::quant
