// Quantization-aware training with settings in one place.
#pragma once

#include <string>

#include "quant/method/qat.h"
#include "quant/method/qat/rule.h"

namespace tessera::quant {

struct QatOptions {
  std::string kind = "lsq";
  TrainingSchedule schedule;
  double ewgs_delta = 1e-3;
  int dkm_iterations = 3;
  double dkm_begin = 1, dkm_end = 0.05;
};

inline std::shared_ptr<const QatRule> rule_of(const QatOptions& o) {
  if (o.kind == "ste") return make_ste();
  if (o.kind == "twn") return make_twn();
  if (o.kind == "ttq") return make_ttq();
  if (o.kind == "lsq") return make_lsq();
  if (o.kind == "ewgs") return make_ewgs(o.ewgs_delta);
  check(o.kind == "dkm", "no rule '", o.kind, "'");
  return make_dkm(o.dkm_iterations, o.dkm_begin, o.dkm_end);
}

inline Qat qat_of(const QatOptions& o) {
  return Qat(o.kind, o.schedule, rule_of(o));
}

}  // namespace tessera::quant
