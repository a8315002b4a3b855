// The recipe "Add a method" carried out: this file and a row in quant/method/method_list.cpp.
// Entries are those of direct compression, drawn towards zero.
#include "quant/method/lc.h"
#include "quant/method/method_list.h"

namespace tessera::quant {

MethodRow shrunk_row() {
  return {.name = "shrunk",
          .doc = "direct compression with smaller entries",
          .settings = {Setting::number("shrink", 0.9, "shrunk: factor of the entries", "shrink",
                                       0.1, 1)},
          .after_training = [](const Settings& settings, std::uint64_t) -> PostTraining {
            const auto factor = static_cast<float>(settings.number("shrink"));
            const auto run = [=](const TrainedNetwork& network, const CompressionPlan& plan,
                                 const CalibrationSet* samples) {
              Codebooks out = direct_compression().run(network, plan, samples).codebooks;
              for (auto& [name, codebook] : out) {
                for (float& entry : codebook.entries) entry *= factor;
              }
              return PostTrained{out, measured(network.state, out)};
            };
            return {"shrunk", 0, run, [](const CompressionPlan& p) { p.require_plain("shrunk"); }};
          }};
}

}  // namespace tessera::quant
