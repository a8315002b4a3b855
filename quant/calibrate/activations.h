// Quantized activations: what layers multiply their weights with, or all that activation functions
// give, takes 2^bits values.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>

#include "core/batch_source.h"
#include "core/named.h"
#include "core/state.h"
#include "nn/task.h"

namespace tessera::quant {

struct ActivationOptions {
  enum class Kind {
    dorefa,      // round(clamp(x, 0, 1) n) / n, n = 2^bits - 1 (Zhou et al. 2016, eq. 11)
    minmax,      // n steps over the range seen in calibration
    percentile,  // ... over what `share` of the values on either side lie within
    mse,         // ... over the range with the least squared error on them
    learned,     // starts as mse; both ends are trained (as PACT, Choi et al. 2018)
  };
  enum class Place {
    inputs,       // what each layer multiplies its weights with
    activations,  // what each activation function gives, whoever reads it: the stream of a residual
                  // network behind its sums, too, and nothing where no activation function stands
  };
  int bits = 0;  // 1 to 8; 0: activations stay f32
  Kind kind = Kind::mse;
  Place place = Place::inputs;
  double share = 0.9999;
  std::int64_t samples = 256;  // of calibration
  bool skip_first = true;      // inputs: the first layer sees the data as it is

  static const Names<Kind>& kinds();
  static const Names<Place>& places();
};

struct ActivationRange {
  double low = 0, high = 1;
};
// By the layer's weight; of activation functions by their path.
using ActivationRanges = std::map<std::string, ActivationRange>;
// A line "NAME LOW HIGH" each, numbers exactly.
std::string text(const ActivationRanges& ranges);
// Throws Error for a line that is none, a range that has no width, and a name that comes twice.
ActivationRanges parse_activation_ranges(const std::string& text);

// The range for values seen in calibration (not empty). Zero is always one of the levels: `low` is
// a whole number of steps below it, and 0 where nothing is negative. Throws Error for values that
// are not finite.
ActivationRange fit_range(std::span<const float> values, const ActivationOptions& options);

// A network with quantized activations, in training (gradients pass straight through where x
// lies inside the range) and in inference: the levels are part of the graph, so a saved model has
// them. `learned` adds the parameters LAYER.weight.input_low and .input_high, or PATH.output_low
// and .output_high behind activation functions.
class QuantizedActivations final : public nn::Network {
 public:
  // Throws Error for bits out of range. ranges: of every place, except with dorefa.
  QuantizedActivations(std::shared_ptr<const nn::Network> network, ActivationOptions options,
                       ActivationRanges ranges = {});
  nn::Values forward(nn::Scope& scope, const nn::Values& inputs) const override;
  const ActivationRanges& ranges() const { return ranges_; }

 private:
  Value quantize(nn::Scope& scope, const std::string& path, const std::string& place,
                 Value x) const;

  std::shared_ptr<const nn::Network> network_;
  ActivationOptions options_;
  ActivationRanges ranges_;
};

// Ranges of all that is to be quantized in a network with these weights, on a CalibrationSet of
// `options.samples`. Throws Error naming the place where a value is not finite.
ActivationRanges calibrate_activations(const nn::Network& network, const nn::Task& task,
                                       const State& weights, const BatchSource& data,
                                       const ActivationOptions& options);

// The network with quantized activations, calibrated where its kind needs that.
std::shared_ptr<const QuantizedActivations> quantize_activations(
    std::shared_ptr<const nn::Network> network, const nn::Task& task, const State& weights,
    const BatchSource& data, const ActivationOptions& options);

// Whether a parameter is an end of a learned range.
bool is_activation_range(const std::string& parameter);

}  // namespace tessera::quant
