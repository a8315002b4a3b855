// How activations are quantized, as flags: of a network that is trained that way, or of one that is
// compressed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/files/checkpoint.h"
#include "core/model.h"
#include "core/values.h"
#include "experiment/flag_list.h"
#include "quant/calibrate/activations.h"

namespace tessera::experiment {

// The activations of a compressed model: a setting, and what is attached.
inline constexpr const char* kActivations = "activations";
inline constexpr const char* kActivationRanges = "activation_ranges";
// "mse 2 bits of inputs"
std::string text(const quant::ActivationOptions& options);
// `network` with the activations of a compressed model, in the ranges that were calibrated for it;
// as it is where they are f32. Throws Error where the model says neither or not wholly.
std::shared_ptr<const nn::Network> with_activations_of(const Model& model,
                                                       std::shared_ptr<const nn::Network> network);

struct ActivationFlags {
  std::int64_t bits = 0;  // 0: activations stay f32
  std::string quantizer = "dorefa", at = "inputs";
  // What the flags said, where they were given.
  std::optional<std::int64_t> asked_bits = {};
  std::optional<std::string> asked_at = {};

  // --PREFIXactivation-bits and --PREFIXactivation-at.
  void add_flags(FlagList& options, const std::string& prefix);
  // --activation-quantizer, for networks that have weights to calibrate with.
  void add_quantizer_flag(FlagList& options);
  void validate(const std::string& prefix) const;  // throws Error naming the flag
  quant::ActivationOptions options() const;

  // What a model file says of a network that is trained with them ("activation_bits", ...); nothing
  // without bits.
  Config settings() const;
  // Those of the network in `file`. `adds`: flags may quantize what it leaves f32. Throws Error,
  // naming the file, for settings that are not whole, and where the flags say otherwise.
  void take(const Config& settings, const std::string& file, const std::string& prefix, bool adds);
};

}  // namespace tessera::experiment
