#include "quant/method/trained_method.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "nn/lr_steps.h"
#include "nn/schedule.h"
#include "quant/fit/assign.h"
#include "quant/fit/vectors.h"
#include "quant/method/representatives.h"

namespace tessera::quant {

double TrainingSchedule::rate(double epoch) const {
  if (!steps.empty()) return nn::step_decay_shares(lr, step_factor, steps, epochs)(epoch);
  const double half_cosine = 0.5 * (1 + std::cos(std::numbers::pi * epoch / std::max(epochs, 1)));
  return lr * (lr_final + (1 - lr_final) * half_cosine);
}

CStepReport TrainedMethod::start(nn::Trainer& trainer, const BatchSource& data, bool resuming) {
  samples_ = data.samples();
  updates_ = static_cast<double>(trainer.steps_per_epoch(data)) * schedule_.epochs;
  CStepReport report;
  if (!resuming) {
    State& state = trainer.state();
    const Codebooks direct = fit_weights(trainer, {}, report);
    store_codebooks(state, direct);
    prepare(trainer, direct);
  }
  attach(trainer);
  if (!resuming) {  // what attach() added may have another method's past
    trainer.reset_optimizer();
    trainer.reset_objectives();
  }
  return report;
}

void TrainedMethod::require(const CompressionPlan& plan) const {
  plan.require_plain(name());
  for (const auto& item : plan.tensors) {
    check(!item.choice || takes(item.choice->spec), name(), " does not make codebooks of ",
          item.choice ? item.choice->spec.text() : "", ", which '", item.name, "' is to have");
  }
}

void TrainedMethod::before_epoch(nn::Trainer& trainer, double epoch) {
  const double whole = std::floor(epoch);
  if (epoch == whole) start_epoch(trainer, static_cast<std::int64_t>(whole));
  set_scalars(trainer, whole / std::max(schedule_.epochs, 1));
}

std::optional<CStepReport> TrainedMethod::after_update(nn::Trainer& trainer, double, double to) {
  if (to != std::floor(to)) return std::nullopt;
  for (const auto& name : plan().compressed()) {
    for (const float w : std::as_const(trainer.state()).get(name).span<float>()) {
      check(std::isfinite(w), "'", name, "': a weight became ", w,
            "; a smaller learning rate or coefficient may help");
    }
  }
  const std::int64_t epoch = static_cast<std::int64_t>(to) - 1;
  finish_epoch(trainer, epoch);
  const Codebooks now = snap(trainer);
  CStepReport report = measured(trainer.state(), now, codebooks(trainer));
  report.step = epoch + 1;
  store_codebooks(trainer.state(), now);
  return report;
}

Codebooks TrainedMethod::fit_weights(const nn::Trainer& trainer, const Codebooks& previous,
                                     CStepReport& report) const {
  return with_all_entries(plan(), fit_all(
                                      plan(),
                                      [&](const std::string& name) {
                                        return trainer.state().get(name).to_vector<float>();
                                      },
                                      previous, report, trainer.ranks()));
}

const TensorChoice* TrainedMethod::choice(const std::string& name) const {
  const TensorPlan* item = plan().find(name);
  return item ? &*item->choice : nullptr;
}

CodebookTensor assign(const TensorPlan& item, std::span<const float> w,
                      std::vector<float> entries) {
  CodebookTensor c;
  c.shape = item.shape;
  c.format = item.choice->spec.format(item.choice->group_rows);
  c.entries = std::move(entries);
  const std::int64_t groups = c.format.groups(item.shape);
  const auto d = static_cast<std::size_t>(c.format.vector_len);
  c.k = static_cast<std::int64_t>(c.entries.size() / d) / groups;
  c.indices.resize(w.size() / d);
  const std::int64_t rows =
      c.format.group_rows ? c.format.group_rows : CodebookFormat::rows(item.shape);
  const auto group = static_cast<std::size_t>(rows * CodebookFormat::row_length(item.shape));
  for (std::size_t g = 0; g < static_cast<std::size_t>(groups); ++g) {
    const std::size_t k = static_cast<std::size_t>(c.k) * d;
    const auto own = std::span(c.entries).subspan(g * k, k);
    for (const float e : own) {
      check(std::isfinite(e), "'", item.name, "': a codebook entry became ", e,
            "; a smaller learning rate or coefficient may help");
    }
    const std::size_t first = g * group, n = std::min(group, w.size() - first);
    const auto part = w.subspan(first, n);
    const auto indices = std::span(c.indices).subspan(first / d, n / d);
    if (d > 1) {
      c.error += assign_vectors(own, d, part, {}, {}, indices).error;
    } else {
      std::sort(own.begin(), own.end());
      c.error += assign_nearest(own, part, {}, {}, indices).error;
    }
  }
  return c;
}

Codebooks assign_all(const CompressionPlan& plan, const State& state,
                     const std::function<std::vector<float>(const std::string&)>& entries) {
  Codebooks out;
  for (const auto& item : plan.tensors) {
    if (item.choice)
      out.emplace(item.name, assign(item, state.get(item.name).span<float>(), entries(item.name)));
  }
  return out;
}

float cell_width(const CodebookTensor& c) {
  if (const auto d = static_cast<std::size_t>(c.format.vector_len); d > 1)
    return std::max(static_cast<float>(half_distance(c.entries, d)), 1e-12f);
  double sum = 0;
  std::int64_t gaps = 0;
  for (std::size_t i = 1; i < c.entries.size(); ++i) {
    if (i % static_cast<std::size_t>(c.k) == 0) continue;
    sum += static_cast<double>(c.entries[i]) - c.entries[i - 1];
    ++gaps;
  }
  return static_cast<float>(
      std::max(gaps > 0 ? sum / (2.0 * static_cast<double>(gaps)) : 0.0, 1e-12));
}

TensorType entries_type(const Shape& weight, const TensorChoice& choice) {
  const CodebookFormat format = choice.spec.format(choice.group_rows);
  return {DType::f32, format.entries_shape(weight, choice.spec.size()), {}};
}

namespace {

nn::LrSteps lr_steps(const Settings& s) {
  return {s.text("train-lr-steps"), s.number("train-lr-step-factor"), "--train-lr-steps"};
}

std::vector<Setting> schedule_settings() {
  const TrainingSchedule usual;
  return {
      Setting::whole("train-epochs", usual.epochs, "epochs of methods that train with one schedule",
                     "train.epochs", 1, 1e6),
      Setting::number("train-lr", usual.lr,
                      "their learning rate; it falls by half a cosine (MOCQ and QAR: after a "
                      "rise over the first epoch of the quantized forward pass)",
                      "train.lr", 1e-12, 1e3),
      Setting::number("train-lr-final", usual.lr_final, "share of it left at the end", "", 0, 1),
      Setting::text("train-lr-steps", "", nn::kLrStepsHelp, "", "LIST",
                    [](const std::string& list) {
                      nn::LrSteps{list, 1, "--train-lr-steps"}.validate();
                    }),
      Setting::number("train-lr-step-factor", usual.step_factor, nn::kLrStepFactorHelp, "", 1e-9,
                      1e3)};
}

}  // namespace

TrainingSchedule training_schedule(const Settings& s) {
  const auto epochs = static_cast<int>(s.whole("train-epochs"));
  return {.epochs = epochs,
          .lr = s.number("train-lr"),
          .lr_final = s.number("train-lr-final"),
          .steps = lr_steps(s).shares(epochs),
          .step_factor = s.number("train-lr-step-factor")};
}

MethodRow trained_row(const char* name, const char* doc, std::vector<Setting> own,
                      std::function<std::unique_ptr<Method>(const Settings&)> training,
                      std::function<void(const Settings&, Config&)> describe) {
  std::vector<Setting> all = schedule_settings();
  all.insert(all.end(), own.begin(), own.end());
  return {.name = name,
          .doc = doc,
          .settings = std::move(all),
          .training = std::move(training),
          .rescale = [](Settings& s, std::int64_t epochs) { s.set("train-epochs", epochs); },
          .validate =
              [](const Settings& s) {
                check(!s.given("train-lr-final") || !lr_steps(s).any(),
                      "--train-lr-final is of a cosine, --train-lr-steps takes its place: they "
                      "exclude each other");
              },
          .describe =
              [describe = std::move(describe)](const Settings& s, Config& config) {
                if (lr_steps(s).any()) {
                  config["train.lr_steps"] = lr_steps(s).text();
                } else {
                  config["train.lr_final"] = s.shown("train-lr-final");
                }
                if (describe) describe(s, config);
              }};
}

}  // namespace tessera::quant
