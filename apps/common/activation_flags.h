// How activations are quantized, as flags: of a network that is trained that way, or of one that is
// compressed.
#pragma once

#include <string>

#include "apps/common/flags.h"
#include "core/files/checkpoint.h"
#include "quant/activations.h"

namespace tessera::apps {

struct ActivationFlags {
  int bits = 0;  // 0: activations stay f32
  std::string quantizer = "dorefa", at = "inputs";

  // --PREFIXactivation-bits and --PREFIXactivation-at.
  void add_flags(po::options_description& options, const std::string& prefix);
  // --activation-quantizer, for networks that have weights to calibrate with.
  void add_quantizer_flag(po::options_description& options);
  void validate(const std::string& prefix) const;  // throws Error naming the flag
  quant::ActivationOptions options() const;

  // What a model file says of a network that is trained with them ("activation_bits", ...); nothing
  // without bits. take() reads it back.
  Config settings() const;
  void take(const Config& settings);
};

}  // namespace tessera::apps
