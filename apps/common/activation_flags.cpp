#include "apps/common/activation_flags.h"

namespace tessera::apps {

namespace {

constexpr const char *kBits = "activation_bits", *kQuantizer = "activation_quantizer",
                     *kAt = "activation_at";

}  // namespace

void ActivationFlags::add_flags(po::options_description& options, const std::string& prefix) {
  auto add = options.add_options();
  add((prefix + "activation-bits").c_str(), flag(bits),
      "activations take 2^N values: 1 to 8; 0: they stay f32");
  add((prefix + "activation-at").c_str(), text_flag(at, "inputs|activations"),
      "which: what layers multiply weights with, but for the first one's; or all that activation "
      "functions give, the stream behind residual sums included");
}

void ActivationFlags::add_quantizer_flag(po::options_description& options) {
  options.add_options()("activation-quantizer", text_flag(quantizer, "KIND"),
                        "how: dorefa (between 0 and 1), minmax, percentile, mse (calibrated) or "
                        "learned");
}

void ActivationFlags::validate(const std::string& prefix) const {
  check_range("--" + prefix + "activation-bits", bits, 0, 8);
  quant::ActivationOptions::parse_place(at);
  quant::ActivationOptions::parse(quantizer);
}

quant::ActivationOptions ActivationFlags::options() const {
  quant::ActivationOptions out;
  out.bits = bits;
  out.kind = quant::ActivationOptions::parse(quantizer);
  out.place = quant::ActivationOptions::parse_place(at);
  return out;
}

Config ActivationFlags::settings() const {
  if (bits == 0) return {};
  return {{kBits, std::to_string(bits)}, {kQuantizer, quantizer}, {kAt, at}};
}

void ActivationFlags::take(const Config& settings) {
  const auto found = settings.find(kBits);
  if (found == settings.end()) {
    bits = 0;
    return;
  }
  bits = static_cast<int>(integer_list(found->second, kBits, 1, 8)[0]);
  quantizer = settings.at(kQuantizer);
  at = settings.at(kAt);
}

}  // namespace tessera::apps
