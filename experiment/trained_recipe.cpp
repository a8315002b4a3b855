#include "experiment/trained_recipe.h"

#include <algorithm>

#include "experiment/recipe.h"

namespace tessera::experiment {

namespace {

constexpr const char* kMocq = "mocq";
constexpr const char* kMocqAuthors = "mocq-authors";
constexpr const char* kQar = "qar";

}  // namespace

std::vector<std::string> TrainedRecipe::names() {
  return {kMocq, kMocqAuthors, kQar, "ste", "twn", "ttq", "lsq", "ewgs", "dkm"};
}

bool TrainedRecipe::has(const std::string& method) {
  const auto all = names();
  return std::find(all.begin(), all.end(), method) != all.end();
}

void TrainedRecipe::add_flags(FlagList& options) {
  auto add = options.add_options();
  add("train-epochs", flag(schedule.epochs), "epochs of methods that train with one schedule");
  add("train-lr", flag(schedule.lr, "X"),
      "their learning rate; it falls by half a cosine (MOCQ and QAR: after a rise over the first "
      "epoch of the quantized forward pass)");
  add("train-lr-final", flag(schedule.lr_final, "X"), "share of it left at the end");
  lr_steps.add_flags(options, "train-");
  add("distill", text_flag(distill, "memory|teacher|none"),
      "MOCQ: soft targets from each sample's last prediction, or from the network of the epoch "
      "before");
  add("distill-alpha", flag(mocq.distill.alpha, "X"), "their share at the end");
  add("mocq-penalty", flag(mocq.penalty_end, "X"),
      "MOCQ: coefficient of the quantization error at the end of its ramp, besides the dynamic "
      "one");
  add("mocq-pull", flag(mocq.pull_end, "X"),
      "MOCQ: dynamic coefficient there: the error's gradient in terms of the task's");
  add("mocq-guard", flag(mocq.guard, "X"), "MOCQ: distance kept from the poles of the error");
  add("regularizer", text_flag(regularizer, "FAMILY"), "QAR: l1, l2, soft, bins or spectral");
  add("qar-pull", flag(qar_pull, "X"), "QAR: as --mocq-pull; 0: 1, or 0.02 for spectral");
  add("hard-from", flag(forward.hard_from, "X"),
      "MOCQ and QAR: share of the epochs from which the forward pass is quantized (1: never)");
  add("finish-from", flag(forward.finish_from, "X"),
      "MOCQ and QAR: share from which only representatives, biases and scales are trained");
  add("ewgs-delta", flag(qat.ewgs_delta, "X"), "EWGS: d in the gradient g (1 + d sign(g) (x - q))");
  add("dkm-begin", flag(qat.dkm_begin, "X"),
      "DKM: temperature at the begin, in squares of half the mean distance of entries");
  add("dkm-end", flag(qat.dkm_end, "X"), "DKM: at the end");
  add("dkm-iterations", flag(qat.dkm_iterations), "DKM: soft k-means steps in a forward pass");
}

void TrainedRecipe::validate() const {
  check_range("--train-epochs", schedule.epochs, 1, 1e6);
  check_range("--train-lr", schedule.lr, 1e-12, 1e3);
  check_range("--train-lr-final", schedule.lr_final, 0, 1);
  lr_steps.validate("train-");
  quant::DistillOptions::parse(distill);
  check_range("--distill-alpha", mocq.distill.alpha, 0, 1);
  check_range("--mocq-pull", mocq.pull_end, 1e-6, 1e6);
  check_range("--mocq-penalty", mocq.penalty_end, 1e-9, 1e6);
  check_range("--mocq-guard", mocq.guard, 1e-6, 0.5);
  quant::ClusterRegularizer::parse(regularizer);
  check_range("--qar-pull", qar_pull, 0, 1e6);
  check_range("--hard-from", forward.hard_from, 0, 1);
  check_range("--finish-from", forward.finish_from, 0, 1);
  check(forward.hard_from >= 1 || forward.hard_from <= forward.finish_from, "--hard-from ",
        forward.hard_from, " lies behind --finish-from ", forward.finish_from,
        ", from where weights are held");
  check_range("--ewgs-delta", qat.ewgs_delta, 0, 10);
  check_range("--dkm-begin", qat.dkm_begin, 1e-6, 1e3);
  check_range("--dkm-end", qat.dkm_end, 1e-6, 1e3);
  check_range("--dkm-iterations", qat.dkm_iterations, 1, 20);
}

Config TrainedRecipe::config(const std::string& method) const {
  Config out = {{"train.epochs", std::to_string(schedule.epochs)},
                {"train.lr", exact(schedule.lr)}};
  if (lr_steps.any()) {
    out["train.lr_steps"] = lr_steps.text();
  } else {
    out["train.lr_final"] = exact(schedule.lr_final);
  }
  if (method == kMocq || method == kMocqAuthors) {
    out["mocq.distill"] = distill;
    out["mocq.distill_alpha"] = exact(mocq.distill.alpha);
  }
  if (method == kMocq) {
    out["mocq.pull"] = exact(mocq.pull_begin) + " to " + exact(mocq.pull_end);
    out["mocq.penalty"] = exact(mocq.penalty_begin) + " to " + exact(mocq.penalty_end);
    out["mocq.ramp"] = exact(mocq.start) + " to " + exact(mocq.ramp_until);
    out["mocq.guard"] = exact(mocq.guard);
  }
  if (method == kQar) {
    out["qar.regularizer"] = regularizer;
    out["qar.pull"] = exact(qar.ramp_begin) + " to " + exact(qar_options().end());
    out["qar.ramp_until"] = exact(qar.ramp_until);
    if (regularizer == "soft") out["qar.temperature"] = exact(qar.temperature);
  }
  if (method == kMocq || method == kQar) {
    out["forward.hard_from"] = exact(forward.hard_from);
    out["forward.finish_from"] = exact(forward.finish_from);
    out["forward.warm_up"] = "1 epoch";
  }
  if (method == "ewgs") out["ewgs.delta"] = exact(qat.ewgs_delta);
  if (method == "dkm") {
    out["dkm.temperature"] = exact(qat.dkm_begin) + " to " + exact(qat.dkm_end);
    out["dkm.iterations"] = std::to_string(qat.dkm_iterations);
  }
  return out;
}

TrainedRecipe TrainedRecipe::with_epochs(int epochs) const {
  TrainedRecipe out = *this;
  out.schedule.epochs = epochs;
  return out;
}

quant::TrainingSchedule TrainedRecipe::whole_schedule() const {
  quant::TrainingSchedule out = schedule;
  out.steps = lr_steps.shares(schedule.epochs);
  out.step_factor = lr_steps.factor;
  return out;
}

quant::QarOptions TrainedRecipe::qar_options() const {
  quant::QarOptions options = qar;
  options.schedule = whole_schedule();
  options.family = quant::ClusterRegularizer::parse(regularizer);
  options.forward = forward;
  if (qar_pull > 0) options.ramp_end = qar_pull;
  return options;
}

std::unique_ptr<quant::Method> TrainedRecipe::method(const std::string& name) const {
  if (name == kMocqAuthors) {
    quant::MocqAuthorsOptions options{whole_schedule(), mocq.distill};
    options.distill.kind = quant::DistillOptions::parse(distill);
    return std::make_unique<quant::MocqAuthors>(options);
  }
  if (name == kMocq) {
    quant::MocqOptions options = mocq;
    options.schedule = whole_schedule();
    options.forward = forward;
    options.distill.kind = quant::DistillOptions::parse(distill);
    return std::make_unique<quant::Mocq>(options);
  }
  if (name == kQar) {
    return std::make_unique<quant::Qar>(qar_options());
  }
  quant::QatOptions options = qat;
  options.schedule = whole_schedule();
  options.kind = quant::parse_qat(name);
  return std::make_unique<quant::Qat>(options);
}

}  // namespace tessera::experiment
