#include "experiment/optimizer_flags.h"

#include "experiment/recipe.h"

namespace tessera::experiment {

void add_optimizer_flags(FlagList& options, const std::string& prefix,
                         nn::OptimizerOptions& optimizer) {
  auto add = options.add_options();
  std::string kinds;
  for (const nn::Optimizer& row : nn::optimizers())
    kinds += cat(kinds.empty() ? "" : "; ", row.name, ": ", row.doc);
  add(prefix + "optimizer", text_flag(optimizer.name, "NAME"), kinds);
  add(prefix + "momentum", flag(optimizer.momentum, "X"), "momentum of SGD");
  add(prefix + "nesterov", switch_flag(optimizer.nesterov), "Nesterov's momentum");
  add(prefix + "weight-decay", flag(optimizer.weight_decay, "X"),
      "decay of weights, not of biases");
  add(prefix + "clip-norm", flag(optimizer.clip_norm, "X"),
      "scale the loss's gradient down to this norm; 0: never");
}

void check_optimizer(const nn::OptimizerOptions& optimizer, const std::string& prefix) {
  const std::string p = "--" + prefix;
  naming(p + "optimizer", [&] { nn::optimizer(optimizer.name); });
  check_range(p + "momentum", optimizer.momentum, 0, 0.9999);
  check_range(p + "weight-decay", optimizer.weight_decay, 0, 1e9);
  check_range(p + "clip-norm", optimizer.clip_norm, 0, 1e9);
}

Config optimizer_config(const nn::OptimizerOptions& optimizer, const std::string& prefix) {
  Config out = {{prefix + "weight_decay", exact(optimizer.weight_decay)}};
  if (optimizer.name == nn::OptimizerOptions().name) {
    out[prefix + "momentum"] = exact(optimizer.momentum);
    out[prefix + "nesterov"] = optimizer.nesterov ? "on" : "off";
  } else {
    out[prefix + "optimizer"] = optimizer.name;
  }
  if (optimizer.clip_norm > 0) out[prefix + "clip_norm"] = exact(optimizer.clip_norm);
  return out;
}

}  // namespace tessera::experiment
