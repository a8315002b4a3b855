#include "nn/fit.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>

#include "core/cpu.h"
#include "core/files/atomic_file.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/text.h"
#include "core/words.h"
#include "nn/schedule.h"

namespace tessera::nn {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A double as text that reads back to the same bits.
std::string exact_text(double value) {
  char buffer[40];
  std::snprintf(buffer, sizeof(buffer), "%a", value);
  return buffer;
}

// What a resumed run must agree with; none for the plain sum.
Config weighting_config(const LossWeighting& w) {
  if (!weighs(w)) return {};
  Config out = {{"loss_weighting", w.name}};
  std::vector<std::string> preference;
  for (const double p : w.preference) preference.push_back(exact_text(p));
  if (!preference.empty()) out["loss_weighting.preference"] = listed(preference, ", ");
  const LossWeighting usual;
  if (w.per_tensor) out["loss_weighting.gramian"] = "tensor";
  if (w.c != usual.c) out["loss_weighting.c"] = exact_text(w.c);
  if (w.smoothness != usual.smoothness) out["loss_weighting.smoothness"] = exact_text(w.smoothness);
  if (w.rate != usual.rate) out["loss_weighting.rate"] = exact_text(w.rate);
  if (w.decay != usual.decay) out["loss_weighting.decay"] = exact_text(w.decay);
  return out;
}

Config full_config(const Trainer& trainer, const FitOptions& options) {
  Config config = options.config;
  config["phase"] = options.phase;
  config["epochs"] = std::to_string(options.epochs);
  const TrainerOptions& t = trainer.options();
  config["batch"] = std::to_string(t.batch);
  config["seed"] = std::to_string(t.seed);
  config["task"] = trainer.task()->name();
  config["optimizer"] = t.optimizer.name;
  for (const auto& [name, value] : optimizer(t.optimizer.name).settings(t.optimizer))
    config[cat("optimizer.", name)] = exact_text(value);
  config["weight_decay"] = exact_text(t.optimizer.weight_decay);
  config["label_smoothing"] = exact_text(t.label_smoothing);
  if (t.bf16) config["compute"] = "bf16";
  if (t.ranks.gradients.loses()) config["gradients"] = t.ranks.gradients.text();
  if (const EarlyStopping& e = options.early_stopping; e.validation != nullptr) {
    config["early_stopping"] =
        cat(e.metric.empty() ? trainer.task()->meter()->metrics().front().name : e.metric, " on ",
            e.validation->name(), ", patience ", e.patience, ", every ", e.every);
    if (e.plateau < 1) config["early_stopping"] += cat(", plateau ", exact_text(e.plateau));
  }
  for (auto& [name, value] : weighting_config(t.weighting)) config[name] = std::move(value);
  if (t.optimizer.clip_norm > 0) config["clip_norm"] = exact_text(t.optimizer.clip_norm);
  if (t.optimizer.group) {
    for (const auto& p : trainer.parameters()) {
      const ParameterGroup group = group_of(t.optimizer, p);
      config["group." + p.name] =
          exact_text(group.lr_scale) + " " + exact_text(*group.weight_decay);
    }
  }
  return config;
}

std::string number(double value) {
  char buffer[40];
  std::snprintf(buffer, sizeof(buffer), "%.6g", value);
  return buffer;
}

// The objectives after an epoch: "coefficients" has what weighs each on every weight, "objectives"
// their values over all weights.
void report_terms(Observer& observer, std::int64_t epoch, const std::vector<TermReport>& terms) {
  if (terms.empty()) return;
  std::vector<std::pair<std::string, std::string>> coefficients, objectives;
  coefficients.emplace_back("epoch", std::to_string(epoch));
  objectives.emplace_back("epoch", std::to_string(epoch));
  std::map<std::string, double> totals;
  for (const TermReport& t : terms) {
    const auto add = [&](const char* what, double value) {
      if (!std::isnan(value)) coefficients.emplace_back(cat(t.weight, ".", what), number(value));
    };
    add("coefficient", t.coefficient);
    add("task_norm", t.task_norm);
    add("objective_norm", t.objective_norm);
    if (!std::isnan(t.value)) totals[t.objective] += t.value;
  }
  for (const auto& [name, value] : totals) objectives.emplace_back(name, number(value));
  observer.on_event("coefficients", coefficients);
  observer.on_event("objectives", objectives);
}

// What weighed the losses in the epoch's last step.
void report_weighting(Observer& observer, std::int64_t epoch,
                      const std::vector<std::pair<std::string, double>>& weighting) {
  if (weighting.empty()) return;
  std::vector<std::pair<std::string, std::string>> values = {{"epoch", std::to_string(epoch)}};
  for (const auto& [name, value] : weighting) values.emplace_back(name, number(value));
  observer.on_event("weighting", values);
}

double exact_number(const std::filesystem::path& file, const CheckpointInfo& info,
                    const char* name) {
  const auto found = info.extra.find(name);
  if (found == info.extra.end()) return 0;
  char* end = nullptr;
  const double value = std::strtod(found->second.c_str(), &end);
  check(end != found->second.c_str() && *end == '\0', file.string(), ": '", name,
        "': expected a number, got ", quote(found->second));
  return value;
}

// The best epoch so far and its weights. They live in the trainer's State, so that a checkpoint
// holds them.
class BestEpoch {
 public:
  BestEpoch(Trainer& trainer, const EarlyStopping& options) : trainer_(trainer), options_(options) {
    if (!on()) return;
    check(options.patience >= 1 && options.every >= 1,
          "early stopping needs a patience and a distance of evaluations of at least 1, got ",
          options.patience, " and ", options.every);
    check(options.plateau > 0 && options.plateau <= 1,
          "the factor of a plateau must be above 0 and at most 1, got ", options.plateau);
  }
  bool on() const { return options_.validation != nullptr; }
  // What a fit before this one may have left.
  void forget() {
    for (const std::string& name : trainer_.state().names()) {
      if (name.starts_with(kPrefix)) trainer_.state().erase(name);
    }
  }
  // After an epoch, where this one is evaluated.
  std::optional<Evaluation> measured(std::int64_t epoch) {
    if (!on() || (epoch + 1) % options_.every != 0) return std::nullopt;
    return trainer_.evaluate(*options_.validation);
  }
  // Of the learning rate, after the plateaus until now.
  double scale() const {
    const State& state = std::as_const(trainer_).state();
    return state.has(kScale) ? static_cast<double>(state.get(kScale).item()) : 1.0;
  }
  // Whether to stop.
  bool judge(std::int64_t epoch, const Evaluation& now, Observer& observer) {
    const Metric& metric = now.metric(options_.metric);
    check(std::isfinite(metric.value), options_.validation->name(), ": the ", metric.name,
          " of epoch ", epoch + 1, " is ", metric.value, "; early stopping needs numbers");
    State& state = trainer_.state();
    // Rounded as it is stored, so that a resumed run decides alike.
    const auto value = static_cast<float>(metric.value);
    const auto better_than = [&](float best) {
      return metric.lower_is_better ? value < best : value > best;
    };
    if (!state.has(kValue) || better_than(state.get(kValue).item())) {
      state.set(kValue, Tensor::scalar(value));
      state.set(kEpoch, Tensor::from(std::vector<std::int64_t>{epoch}, Shape{1}));
      for_each(
          [&](const std::string& name) { state.set(kWeights + name, state.get(name).clone()); });
    } else if (options_.plateau < 1) {
      state.set(kScale, Tensor::scalar(static_cast<float>(scale() * options_.plateau)));
    }
    std::vector<std::pair<std::string, std::string>> fields = {{"epoch", std::to_string(epoch)}};
    for (const Metric& m : now.metrics) fields.emplace_back(m.name, number(m.value));
    fields.emplace_back("best_epoch", std::to_string(best_epoch()));
    observer.on_event("validation", fields);
    return (epoch - best_epoch()) / options_.every >= options_.patience;
  }
  void restore(FitResult& result) {
    State& state = trainer_.state();
    if (!on() || !state.has(kValue)) return;
    result.best_epoch = best_epoch();
    result.best = state.get(kValue).item();
    for_each([&](const std::string& name) { state.set(name, state.get(kWeights + name)); });
    forget();
  }

 private:
  static constexpr const char* kPrefix = "early_stopping.";
  static constexpr const char* kValue = "early_stopping.value";
  static constexpr const char* kEpoch = "early_stopping.epoch";
  static constexpr const char* kScale = "early_stopping.scale";
  static inline const std::string kWeights = "early_stopping.of.";

  std::int64_t best_epoch() const {
    return std::as_const(trainer_).state().get(kEpoch).span<std::int64_t>()[0];
  }
  template <class Fn>
  void for_each(Fn&& fn) {
    for (const auto* specs : {&trainer_.parameters(), &trainer_.states()}) {
      for (const auto& p : *specs) fn(p.name);
    }
  }

  Trainer& trainer_;
  const EarlyStopping& options_;
};

// Rank 0 writes; all ranks call it where some states are theirs alone.
void write_checkpoint(Trainer& trainer, const FitOptions& options, const Position& position,
                      double seconds) {
  const bool gathers = !trainer.ranks().alone() && has_rank_states(trainer.state());
  const State whole = gathers ? trainer.whole_state() : State();
  if (trainer.ranks().rank() != 0) return;
  CheckpointInfo info;
  info.epoch = position.epoch;
  info.step = position.step;
  info.seed = trainer.options().seed;
  info.config = full_config(trainer, options);
  info.extra["loss_sum"] = exact_text(position.loss_sum);
  info.extra["seconds"] = exact_text(position.seconds + seconds);
  save_checkpoint(options.checkpoint, gathers ? whole : trainer.state(), info);
}

// The checkpoint that rank 0 finds.
std::optional<Checkpoint> found_checkpoint(const Trainer& trainer,
                                           const std::filesystem::path& file) {
  const Ranks& ranks = trainer.ranks();
  if (ranks.alone()) {
    if (!file_exists(file)) return std::nullopt;
    return load_checkpoint(file);
  }
  std::string bytes;
  if (ranks.rank() == 0 && file_exists(file)) bytes = read_file(file);
  bytes = broadcast(*ranks.communicator, bytes);
  if (bytes.empty()) return std::nullopt;
  return parse_checkpoint(std::move(bytes), file.string());
}

// What ranks must have in common before they begin.
void require_same_start(Trainer& trainer, const BatchSource& data, const FitOptions& options) {
  if (trainer.ranks().alone()) return;
  std::string settings, features = text(active_features());
  for (const auto& [name, value] : full_config(trainer, options))
    settings += name + "=" + value + "\n";
  State same;
  for (const auto& [name, entry] : trainer.state().entries()) {
    if (!is_rank_state(name)) same.set(name, entry.tensor);
  }
  require_agreement(*trainer.ranks().communicator,
                    {{"configuration", settings},
                     {"set of training samples", digest(data, trainer.options().batch)},
                     {"start (weights and states)", digest(same)},
                     {"instruction set (TESSERA_ISA can lower it)", features},
                     {"number of threads (--threads)", std::to_string(num_threads())}});
}

// The network's tensors must be in the file, each with its type.
void require_tensors(const std::filesystem::path& file, const State& saved,
                     const Trainer& trainer) {
  for (const auto* specs : {&trainer.parameters(), &trainer.states()}) {
    for (const auto& spec : *specs) {
      check(saved.has(spec.name), file.string(), ": has no tensor ", quote(spec.name));
      const Tensor &got = saved.get(spec.name), &wanted = trainer.state().get(spec.name);
      check(got.dtype() == wanted.dtype() && got.shape() == wanted.shape(), file.string(),
            ": tensor ", quote(spec.name), " is ", got.text_type(), ", expected ",
            wanted.text_type());
    }
  }
}

}  // namespace

bool resume_from(Trainer& trainer, const FitOptions& options, Position& position) {
  if (!options.resume || options.checkpoint.empty()) return false;
  std::optional<Checkpoint> saved = found_checkpoint(trainer, options.checkpoint);
  if (!saved) return false;
  require_same_config(options.checkpoint, saved->info.config, full_config(trainer, options));
  require_tensors(options.checkpoint, saved->state, trainer);
  trainer.take_whole_state(std::move(saved->state));
  position.epoch = saved->info.epoch;
  position.step = saved->info.step;
  position.loss_sum = exact_number(options.checkpoint, saved->info, "loss_sum");
  position.seconds = exact_number(options.checkpoint, saved->info, "seconds");
  return true;
}

FitResult fit(Trainer& trainer, const BatchSource& data, const FitOptions& options) {
  require_schedule(options.lr);
  FitResult result;
  Position& position = result.position;
  if (options.from) {
    position = *options.from;
  } else {
    resume_from(trainer, options, position);
  }
  require_same_start(trainer, data, options);
  BestEpoch best(trainer, options.early_stopping);
  if (position.epoch == 0 && position.step == 0) best.forget();
  Observer none;
  Observer& observer = options.observer ? *options.observer : none;
  observer.on_begin(options.phase, options.epochs, position);
  const auto start = Clock::now();
  auto saved_at = start;
  std::optional<Position> saved;
  double saving = 0;  // seconds that it took
  const auto save = [&] {
    const auto began = Clock::now();
    write_checkpoint(trainer, options, position, seconds_since(start));
    saved = position;
    saved_at = Clock::now();
    saving = seconds_since(began);
  };
  // All ranks, which wait as long as rank 0 writes.
  const auto save_when = [&](bool due) {
    if (options.checkpoint.empty() || !due) return;
    save();
    trainer.any_rank(false);
  };
  // Another rank is gone; the states are those of a whole step. Nothing is lost but the one that
  // failed, unless that rank had a part of the states.
  const auto save_alone = [&](bool whole) {
    if (whole && !options.checkpoint.empty() && !has_rank_states(trainer.state())) save();
  };
  const auto old = [&] { return seconds_since(saved_at) >= options.checkpoint_seconds; };
  // What ends an epoch (a C step, evaluations) can be long. Interrupted there, a run goes on before
  // the epoch's last step and does the end again; up to 2 % of the time goes into saving for that.
  const auto due = [&](std::int64_t step, std::int64_t steps) {
    constexpr double kShare = 0.02;
    return old() || (step + 1 == steps && saving <= kShare * seconds_since(saved_at));
  };
  // Several ranks follow the clock of rank 0, which says a step ahead what it wants.
  const bool alone = trainer.ranks().alone(), leads = trainer.ranks().rank() == 0;
  const auto save_when_due = [&](std::int64_t steps) {
    if (alone) return save_when(due(position.step, steps));
    save_when(trainer.save_agreed());
    trainer.propose_save(leads && !trainer.save_agreed() && due(position.step + 1, steps));
  };
  while (position.epoch < options.epochs) {
    const std::int64_t epoch = position.epoch, count = trainer.steps_per_epoch(data);
    const auto steps = static_cast<double>(count);
    const auto at = [&](std::int64_t step) {
      return static_cast<double>(epoch) + static_cast<double>(step) / steps;
    };
    if (options.before_epoch) options.before_epoch(at(position.step));
    if (count == 1) save_when(trainer.any_rank(leads && due(0, count)));
    const double scale = best.scale();
    const auto lr = [&](double at_epoch) { return scale * options.lr(at_epoch); };
    const auto on_step = [&](const StepReport& step) {
      observer.on_step(step);
      if (step.step == step.steps) return;  // the rest of an epoch's end is below
      if (options.after_update) options.after_update(at(step.step - 1), at(step.step));
      save_when_due(step.steps);
    };
    EpochReport report;
    try {
      report = trainer.train_epoch(data, position, lr, on_step);
    } catch (const CommunicationError&) {
      save_alone(trainer.unharmed());
      throw;
    }
    if (report.finished) {
      result.loss = report.loss;
      try {
        report_terms(observer, epoch, trainer.terms());
        report_weighting(observer, epoch, trainer.weighting());
        if (options.after_update) options.after_update(at(report.steps - 1), at(report.steps));
        std::optional<Evaluation> test;
        if (options.test && ((epoch + 1) % options.test_every == 0 || epoch + 1 == options.epochs))
          test = trainer.evaluate(*options.test);
        const auto validation = best.measured(epoch);
        observer.on_epoch(epoch, report, test ? &*test : nullptr);
        if (validation && best.judge(epoch, *validation, observer) &&
            position.epoch < options.epochs) {
          result.stopped_early = true;
          break;
        }
      } catch (const Interrupted&) {
        if (saved) position = *saved;
        observer.on_end();
        return result;
      }
    }
    bool stop = false;
    try {
      stop = trainer.any_rank(interrupted());
      save_when(trainer.any_rank(leads && (stop || old())));
    } catch (const CommunicationError&) {
      save_alone(true);
      throw;
    }
    if (stop && position.epoch < options.epochs) {
      observer.on_end();
      return result;
    }
  }
  result.finished = true;
  best.restore(result);
  observer.on_end();
  return result;
}

}  // namespace tessera::nn
