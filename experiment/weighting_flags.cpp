#include "experiment/weighting_flags.h"

#include "core/values.h"

namespace tessera::experiment {

namespace {

// Whether each tensor has a Gramian of its own.
const Names<bool>& gramians() {
  static const Names<bool> all("gramian", {{"all", false}, {"tensor", true}});
  return all;
}

}  // namespace

void WeightingFlags::add_flags(FlagList& options, const std::string& prefix) {
  std::string kinds;
  for (const nn::LossWeightingRow& row : nn::loss_weightings())
    kinds += cat(kinds.empty() ? "" : "; ", row.name, ": ", row.doc);
  auto add = options.add_options();
  add(prefix + "loss-weighting", text_flag(name, "NAME"),
      "how several losses, and joint objectives, share a step. " + kinds);
  add(prefix + "loss-preference", text_flag(preference, "LIST"),
      "what each loss weighs where nothing conflicts (default: 1 each)");
  add(prefix + "gramian", text_flag(gramian, gramians().alternatives().c_str()),
      "weightings by gradients: one solution for all tensors that losses share, or for each");
}

nn::LossWeighting WeightingFlags::weighting() const {
  nn::LossWeighting out;
  out.name = name;
  if (!preference.empty()) out.preference = number_list(preference, "preferences", 1e-6, 1e6);
  out.per_tensor = gramians().parse(gramian);
  return out;
}

void WeightingFlags::validate(const std::string& prefix) const {
  const std::string p = "--" + prefix;
  naming(p + "loss-weighting", [&] { nn::loss_weighting(name); });
  naming(p + "gramian", [&] { gramians().parse(gramian); });
  naming(p + "loss-preference", [&] { nn::require_weighting(weighting()); });
}

Config WeightingFlags::config(const std::string& prefix) const {
  if (!nn::weighs(weighting())) return {};
  Config out = {{prefix + "loss_weighting", name}};
  if (!preference.empty()) out[prefix + "loss_preference"] = preference;
  if (gramians().parse(gramian)) out[prefix + "gramian"] = gramian;
  return out;
}

}  // namespace tessera::experiment
