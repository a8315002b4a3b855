// Settings of the methods that train with one schedule: MOCQ, QAR and quantization-aware training.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/files/checkpoint.h"
#include "experiment/lr_steps.h"
#include "quant/method/mocq.h"
#include "quant/method/mocq_authors.h"
#include "quant/method/qar.h"
#include "quant/method/qat.h"

namespace tessera::experiment {

struct TrainedRecipe {
  quant::TrainingSchedule schedule;  // but for its steps, which are these
  LrSteps lr_steps;
  quant::MocqOptions mocq;
  quant::QarOptions qar;
  quant::QatOptions qat;
  quant::ForwardStages forward;                        // of mocq and qar
  std::string distill = "memory", regularizer = "l2";  // as flags give them
  double qar_pull = 0;                                 // 0: the default of the family

  static std::vector<std::string> names();  // "mocq", "mocq-authors", "qar", "ste", ...
  static bool has(const std::string& method);

  void add_flags(FlagList& options);
  void validate() const;  // throws Error naming the flag
  // With the schedule scaled to this many epochs.
  TrainedRecipe with_epochs(int epochs) const;
  // What shapes the result of `method`.
  Config config(const std::string& method) const;
  // Throws Error for an unknown name.
  std::unique_ptr<quant::Method> method(const std::string& name) const;

 private:
  quant::TrainingSchedule whole_schedule() const;
  quant::QarOptions qar_options() const;
};

}  // namespace tessera::experiment
