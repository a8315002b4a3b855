#include "quant/method/trained_method.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "nn/schedule.h"
#include "quant/fit/assign.h"
#include "quant/fit/vectors.h"

namespace tessera::quant {

double TrainingSchedule::rate(double epoch) const {
  if (!steps.empty()) return nn::step_decay_shares(lr, step_factor, steps, epochs)(epoch);
  const double half_cosine = 0.5 * (1 + std::cos(std::numbers::pi * epoch / std::max(epochs, 1)));
  return lr * (lr_final + (1 - lr_final) * half_cosine);
}

CStepReport TrainedMethod::begin(nn::Trainer& trainer, const CompressionPlan& plan, bool resuming) {
  require(plan);
  plan_ = plan;
  CStepReport report;
  if (!resuming) {
    State& state = trainer.state();
    const Codebooks direct = fit_weights(state, {}, report);
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
  for (const auto& name : plan_.compressed()) {
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

Codebooks TrainedMethod::codebooks(const nn::Trainer& trainer) const {
  return load_codebooks(trainer.state(), plan_);
}

Codebooks TrainedMethod::fit_weights(const State& state, const Codebooks& previous,
                                     CStepReport& report) const {
  Codebooks out = fit_all(
      plan_, [&](const std::string& name) { return state.get(name).to_vector<float>(); }, previous,
      report);
  for (auto& [name, c] : out) {
    const auto k = static_cast<std::size_t>(choice(name)->spec.size());
    const auto had = static_cast<std::size_t>(c.k);
    if (had == k) continue;
    std::vector<float> padded;
    for (std::size_t g = 0; g < c.entries.size(); g += had) {
      for (std::size_t j = 0; j < k; ++j) padded.push_back(c.entries[g + std::min(j, had - 1)]);
    }
    c.entries = std::move(padded);
    c.k = static_cast<std::int64_t>(k);
  }
  return out;
}

const TensorChoice* TrainedMethod::choice(const std::string& name) const {
  const TensorPlan* item = plan_.find(name);
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

}  // namespace tessera::quant
