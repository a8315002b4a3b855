#include "quant/method/method_list.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "quant/method/combination.h"

namespace tessera::quant {

// Each stands in the file of its method.
MethodRow direct_row();
MethodRow fisher_row();
MethodRow adaround_row();
MethodRow gptq_row();
MethodRow lnq_row();
MethodRow idc_row();
MethodRow lc_row();
MethodRow lc_qp_row();
MethodRow mocq_row();
MethodRow mocq_authors_row();
MethodRow qar_row();
MethodRow ste_row();
MethodRow twn_row();
MethodRow ttq_row();
MethodRow lsq_row();
MethodRow ewgs_row();
MethodRow dkm_row();

const std::vector<MethodRow>& methods() {
  static const std::vector<MethodRow> all = {
      direct_row(), fisher_row(), adaround_row(), gptq_row(),         lnq_row(), idc_row(),
      lc_row(),     lc_qp_row(),  mocq_row(),     mocq_authors_row(), qar_row(), ste_row(),
      twn_row(),    ttq_row(),    lsq_row(),      ewgs_row(),         dkm_row(),
  };
  return all;
}

std::vector<std::string> method_names() {
  std::vector<std::string> out;
  for (const MethodRow& row : methods()) out.push_back(row.name);
  return out;
}

const MethodRow& method_row(const std::string& name) {
  for (const MethodRow& row : methods()) {
    if (row.name == name) return row;
  }
  const auto alone = [&](const Companion& c) { return c.name == name; };
  if (name.find('+') != name.npos || std::any_of(companions().begin(), companions().end(), alone)) {
    static std::map<std::string, MethodRow> made;
    static std::mutex mutex;
    {
      const std::lock_guard lock(mutex);
      if (const auto found = made.find(name); found != made.end()) return found->second;
    }
    MethodRow row = combination_row(name);  // asks for its parts here
    const std::lock_guard lock(mutex);
    return made.try_emplace(name, std::move(row)).first->second;
  }
  fail_unknown("--method", name, method_names());
}

Settings method_settings() {
  Settings out;
  for (const MethodRow& row : methods()) out.add(row.settings);
  for (const Companion& companion : companions()) out.add(companion.settings);
  return out;
}

void validate_methods(const Settings& settings) {
  settings.validate();
  for (const MethodRow& row : methods()) {
    if (row.validate) row.validate(settings);
  }
}

AnyMethod MethodRow::make(const Settings& settings, std::uint64_t seed) const {
  if (training) return training(settings);
  return after_training(settings, seed);
}

void MethodRow::also(std::function<void(const Settings&)> check) {
  validate = [first = std::move(validate), check = std::move(check)](const Settings& s) {
    if (first) first(s);
    check(s);
  };
}

Config MethodRow::config(const Settings& given) const {
  Config out;
  for (const Setting& setting : settings) {
    if (!setting.key.empty()) out[setting.key] = given.shown(setting.name);
  }
  if (describe) describe(given, out);
  return out;
}

Setting calibration_samples() {
  return Setting::whole(
      kCalibrationSamples, 256,
      "samples that fisher, adaround, activation ranges and bit allocation look at", "calibration",
      1, 1e7);
}

}  // namespace tessera::quant
