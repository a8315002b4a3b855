#include "quant/method/layerwise.h"

#include "core/interrupt.h"
#include "quant/calibrate/layers.h"
#include "quant/fit/output_fit.h"
#include "quant/method/method_list.h"

namespace tessera::quant {

namespace {

void require_entries_of_weights(const CompressionPlan& plan, const std::string& method) {
  plan.require_plain(method);
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    check(item.choice->spec.scale_block() == 0, method, ": '", item.name,
          "' is to have a scale per block; dc, fisher, idc and lc fit those");
    check(item.choice->spec.vector_len() == 1, method, ": '", item.name, "' is to have entries of ",
          item.choice->spec.vector_len(), " weights; dc, fisher, idc, lc and dkm make those");
  }
}

PostTrained fit_layers(const LayerwiseOptions& options, const TrainedNetwork& network,
                       const CompressionPlan& plan, const CalibrationSet& samples,
                       std::vector<LayerwiseLayer>* reports) {
  Codebooks out, nearest;
  State coded = decoded_state(network.state, {});
  if (reports) reports->clear();
  for (const Layer& layer : layers_of(network.inference, plan.compressed())) {
    stop_if_interrupted();
    const TensorPlan& item = *plan.find(layer.name);
    const auto weights = network.state.get(layer.name).span<float>();
    const OutputFit fit(weights, item.shape[0].value(), input_moments(layer, coded, samples),
                        options.damping);
    CodebookTensor codebook = fit_tensor(layer.name, item.choice->spec, item.shape,
                                         item.choice->group_rows, weights, fit.importance());
    nearest.emplace(layer.name, codebook);
    fit.round(codebook);
    for (int round = 0; round < options.rounds; ++round) {
      fit.refit(codebook, item.choice->spec);
      if (fit.descend(codebook, options.passes) == 0) break;
    }
    if (reports)
      reports->push_back({layer.name, fit.error(nearest.at(layer.name)), fit.error(codebook)});
    std::vector<float> values(weights.size());
    codebook.decode(values);
    codebook.error = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double miss = static_cast<double>(weights[i]) - values[i];
      codebook.error += miss * miss;
    }
    coded.set(layer.name, Tensor::from(values, item.shape));
    out.emplace(layer.name, std::move(codebook));
  }
  CStepReport report = measured(network.state, out, nearest);
  return {std::move(out), std::move(report)};
}

constexpr const char* kSamples = "layerwise-samples";
constexpr const char* kDamping = "layerwise-damping";

std::vector<Setting> shared_settings() {
  const LayerwiseOptions usual;
  return {Setting::whole(kSamples, usual.samples, "gptq, lnq: samples they look at",
                         "layerwise_samples", 1, 1e7),
          Setting::number(kDamping, usual.damping,
                          "gptq, lnq: added to each input's mean square, as a share of their mean",
                          "layerwise_damping", 0, 1e6)};
}

LayerwiseOptions options_of(const Settings& s) {
  LayerwiseOptions out;
  out.samples = s.whole(kSamples);
  out.damping = s.number(kDamping);
  return out;
}

}  // namespace

PostTraining layerwise(std::string name, LayerwiseOptions options,
                       std::vector<LayerwiseLayer>* layers) {
  const auto run = [=](const TrainedNetwork& network, const CompressionPlan& plan,
                       const CalibrationSet* samples) {
    return fit_layers(options, network, plan, *samples, layers);
  };
  return {name, options.samples, run, [name](const CompressionPlan& plan) {
            require_entries_of_weights(plan, name);
            require_layers(plan, name);
          }};
}

MethodRow gptq_row() {
  return {.name = "gptq",
          .doc = "codes that make up for each other's errors at a layer's output",
          .settings = shared_settings(),
          .after_training = [](const Settings& s, std::uint64_t) {
            LayerwiseOptions options = options_of(s);
            options.rounds = 0;
            return layerwise("gptq", options);
          }};
}

MethodRow lnq_row() {
  const LayerwiseOptions usual;
  std::vector<Setting> settings = shared_settings();
  settings.push_back(Setting::whole("lnq-rounds", usual.rounds,
                                    "lnq: rounds of entries and codes by turns", "lnq_rounds", 0,
                                    1000));
  settings.push_back(Setting::whole(
      "lnq-passes", usual.passes, "lnq: passes over the codes in a round", "lnq_passes", 1, 1000));
  return {.name = "lnq",
          .doc = "entries and codes by turns, for the least error at each layer's output",
          .settings = settings,
          .after_training = [](const Settings& s, std::uint64_t) {
            LayerwiseOptions options = options_of(s);
            options.rounds = static_cast<int>(s.whole("lnq-rounds"));
            options.passes = static_cast<int>(s.whole("lnq-passes"));
            return layerwise("lnq", options);
          }};
}

}  // namespace tessera::quant
