#include "experiment/activation_flags.h"

#include <sstream>

#include "core/text.h"

namespace tessera::experiment {

namespace {

constexpr const char *kBits = "activation_bits", *kQuantizer = "activation_quantizer",
                     *kAt = "activation_at";

}  // namespace

std::string text(const quant::ActivationOptions& options) {
  return cat(quant::ActivationOptions::kinds().name(options.kind), " ", options.bits, " bits of ",
             quant::ActivationOptions::places().name(options.place));
}

std::shared_ptr<const nn::Network> with_activations_of(const Model& model,
                                                       std::shared_ptr<const nn::Network> network) {
  const auto found = model.settings.find(kActivations);
  if (found == model.settings.end()) return network;
  std::istringstream words(found->second);
  std::string kind, bits, what, of, place;
  words >> kind >> bits >> what >> of >> place;
  check(what == "bits" && of == "of", "expected ", kActivations,
        " like 'mse 2 bits of inputs', got ", quote(found->second));
  quant::ActivationOptions options;
  options.kind = quant::ActivationOptions::kinds().parse(kind);
  options.bits = static_cast<int>(integer_list(bits, kActivations, 1, 8)[0]);
  options.place = quant::ActivationOptions::places().parse(place);
  const auto ranges = model.attached.find(kActivationRanges);
  check(ranges != model.attached.end() || options.kind == quant::ActivationOptions::Kind::dorefa,
        "its activations have calibrated ranges, which are not attached to it: it reads nothing "
        "but what it was saved for");
  return std::make_shared<quant::QuantizedActivations>(
      std::move(network), options,
      ranges == model.attached.end() ? quant::ActivationRanges()
                                     : quant::parse_activation_ranges(ranges->second));
}

void ActivationFlags::add_flags(FlagList& options, const std::string& prefix) {
  auto add = options.add_options();
  add((prefix + "activation-bits").c_str(),
      number_flag([this](std::int64_t n) { asked_bits = bits = n; }),
      "activations take 2^N values: 1 to 8; 0, the default: they stay f32");
  add((prefix + "activation-at").c_str(),
      text_flag([this](const std::string& place) { asked_at = at = place; },
                quant::ActivationOptions::places().alternatives().c_str()),
      "which: what layers multiply weights with, but for the first one's (inputs, the default); or "
      "all that activation functions give, the stream behind residual sums included");
}

void ActivationFlags::add_quantizer_flag(FlagList& options) {
  options.add_options()("activation-quantizer", text_flag(quantizer, "KIND"),
                        "how: dorefa (between 0 and 1), minmax, percentile, mse (calibrated) or "
                        "learned");
}

void ActivationFlags::validate(const std::string& prefix) const {
  check_range("--" + prefix + "activation-bits", static_cast<double>(bits), 0, 8);
  naming("--" + prefix + "activation-at", [&] { quant::ActivationOptions::places().parse(at); });
  naming("--activation-quantizer", [&] { quant::ActivationOptions::kinds().parse(quantizer); });
}

quant::ActivationOptions ActivationFlags::options() const {
  quant::ActivationOptions out;
  out.bits = static_cast<int>(bits);
  out.kind = quant::ActivationOptions::kinds().parse(quantizer);
  out.place = quant::ActivationOptions::places().parse(at);
  return out;
}

Config ActivationFlags::settings() const {
  if (bits == 0) return {};
  return {{kBits, std::to_string(bits)}, {kQuantizer, quantizer}, {kAt, at}};
}

void ActivationFlags::take(const Config& settings, const std::string& file,
                           const std::string& prefix, bool adds) {
  const std::string flags = "--" + prefix;
  if (!settings.contains(kBits)) {
    check(bits == 0 || adds, flags, "activation-bits ", bits, ": ", file,
          " holds a network with f32 activations");
    return;
  }
  const auto setting = [&](const char* key) -> const std::string& {
    const auto found = settings.find(key);
    check(found != settings.end(), file, ": its settings have ", kBits, ", but no ", key);
    return found->second;
  };
  bits = naming(file, [&] { return integer_list(setting(kBits), kBits, 1, 8)[0]; });
  quantizer = setting(kQuantizer);
  at = setting(kAt);
  check(!asked_bits || *asked_bits == bits, flags, "activation-bits ", asked_bits.value_or(0), ": ",
        file, " holds a network with activations of ", bits, " bits");
  check(!asked_at || *asked_at == at, flags, "activation-at ", asked_at.value_or(""), ": ", file,
        " holds a network with quantized ", quote(at));
}

}  // namespace tessera::experiment
