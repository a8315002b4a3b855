#include "quant/method/fisher_compression.h"

#include "core/interrupt.h"
#include "quant/calibrate/fisher.h"
#include "quant/method/method_list.h"

namespace tessera::quant {

namespace {

constexpr const char* kName = "fisher";

PostTrained fit_weighted(const TrainedNetwork& network, const CompressionPlan& plan,
                         const CalibrationSet* samples) {
  const Importance importance = fisher_information(network.inference, *network.task, network.state,
                                                   plan.compressed(), *samples);
  Codebooks out;
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    stop_if_interrupted();
    out.emplace(item.name,
                fit_tensor(item.name, item.choice->spec, item.shape, item.choice->group_rows,
                           network.state.get(item.name).span<float>(), importance.at(item.name)));
  }
  CStepReport report = measured(network.state, out);
  return {std::move(out), std::move(report)};
}

}  // namespace

PostTraining fisher_compression(std::int64_t samples) {
  return {kName, samples, fit_weighted,
          [](const CompressionPlan& plan) { plan.require_plain(kName); }};
}

MethodRow fisher_row() {
  return {.name = kName,
          .doc = "k-means weighted by what the loss feels (Fisher information)",
          .settings = {calibration_samples()},
          .after_training = [](const Settings& s, std::uint64_t) {
            return fisher_compression(s.whole(kCalibrationSamples));
          }};
}

}  // namespace tessera::quant
