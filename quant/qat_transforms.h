// What the forward pass of quantization-aware training puts in place of a weight.
#pragma once

#include <memory>

#include "quant/qat.h"

namespace tessera::quant {

std::unique_ptr<nn::WeightTransform> make_transform(const QatOptions& options,
                                                    const CompressionPlan& plan);

// Levels of a uniform quantizer: s * q for q = -negative .. positive; at 1 bit q = -1, 1.
struct UniformLevels {
  int negative, positive;
};
UniformLevels uniform_levels(int bits);

// The interval of ewgs is at least this wide.
inline constexpr float kEwgsWidth = 1e-6f;

// Names of what a transform keeps beside a weight.
inline constexpr const char* kQatEntries = ".c_entries";        // ste: state, [groups, k]
inline constexpr const char* kQatStep = ".lsq_step";            // lsq: parameter, scalar
inline constexpr const char* kQatLevels = ".ttq_levels";        // ttq: parameter, [2]: n, p
inline constexpr const char* kQatInterval = ".ewgs_interval";   // ewgs: parameter, [2]: l, u
inline constexpr const char* kQatScale = ".ewgs_scale";         // ewgs: parameter, scalar
inline constexpr const char* kQatCentroids = ".dkm_centroids";  // dkm: state, [k] or [k, d]
inline constexpr const char* kQatWidth = ".cell_width";         // dkm: state, scalar

}  // namespace tessera::quant
