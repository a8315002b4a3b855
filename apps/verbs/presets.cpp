#include "apps/verbs/presets.h"

#include <algorithm>

#include "core/words.h"

namespace tessera::apps {

namespace {

struct Flag {
  const char *name, *value;  // a switch has no value
};

struct Preset {
  const char *name, *about;
  std::vector<Flag> flags;
};

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all = {
      {"mocq-authors",
       "MOCQ as its authors' code trains it",
       {{"method", "mocq-authors"},
        {"from-scratch", nullptr},
        {"stem", "linear"},
        {"policy", "stages"},
        {"bits", "2"},
        {"activation-bits", "4"},
        {"activation-quantizer", "dorefa"},
        {"activation-at", "activations"},
        {"batch", "256"},
        {"momentum", "0.9"},
        {"nesterov", "off"},
        {"weight-decay", "0.0005"},
        {"train-epochs", "350"},
        {"train-lr", "0.1"},
        // Behind epochs 100, 225 and 300 of the 350.
        {"train-lr-steps", "0.2857142857142857,0.6428571428571429,0.8571428571428571"},
        {"train-lr-step-factor", "0.1"},
        {"distill", "memory"},
        {"distill-alpha", "0.8"}}}};
  return all;
}

bool given(const std::vector<std::string>& args, const std::string& name) {
  return std::any_of(args.begin(), args.end(), [&](const std::string& arg) {
    return arg == "--" + name || arg.starts_with("--" + name + "=");
  });
}

}  // namespace

std::vector<std::string> with_preset(const std::string& name, std::vector<std::string> args,
                                     const FlagList& options) {
  const auto& all = presets();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Preset& p) { return p.name == name; });
  if (found == all.end()) {
    std::vector<std::string> names;
    for (const Preset& preset : all) names.emplace_back(preset.name);
    fail_unknown("--preset", name, names);
  }
  for (const Flag& flag : found->flags) {
    if (given(args, flag.name) || !options.has(flag.name)) continue;
    args.push_back(std::string("--") + flag.name);
    if (flag.value != nullptr) args.emplace_back(flag.value);
  }
  return args;
}

std::string preset_help() {
  std::string out = "flags at once, each of which may be given otherwise:";
  for (const Preset& preset : presets()) {
    out += cat(" ", preset.name, ", ", preset.about, " (");
    bool first = true;
    for (const Flag& flag : preset.flags) {
      out += cat(first ? "" : " ", "--", flag.name, flag.value ? " " : "",
                 flag.value ? flag.value : "");
      first = false;
    }
    out += ")";
  }
  return out;
}

}  // namespace tessera::apps
