#include "quant/calibrate/calibration.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "core/interrupt.h"
#include "core/rng.h"
#include "nn/evaluator.h"

namespace tessera::quant {

namespace {

// Which sample of the set stands at each place.
std::vector<std::int64_t> spread(const BatchSource& data, std::int64_t samples) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(samples));
  if (const std::int64_t lanes = data.lanes(); lanes > 0) {
    const std::int64_t each = (samples + lanes - 1) / lanes;
    for (std::int64_t i = 0; i < samples; ++i)
      out[static_cast<std::size_t>(i)] = i % each * lanes + i / each;
    return out;
  }
  std::vector<std::int64_t> places(out.size());
  std::iota(places.begin(), places.end(), 0);
  Rng rng(0, stable_id("calibration"));
  for (std::size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[rng.below(i)]);
  for (std::int64_t i = 0; i < samples; ++i)
    out[static_cast<std::size_t>(places[static_cast<std::size_t>(i)])] =
        i * data.samples() / samples;
  return out;
}

}  // namespace

CalibrationSet::CalibrationSet(const BatchSource& data, std::int64_t samples)
    : name_(data.name()),
      samples_(std::min(samples, data.samples())),
      lanes_(std::min<std::int64_t>(data.lanes(), 1)),
      fields_(data.fields()) {
  check(samples >= 1, "calibration needs at least one sample, got ", samples);
  check(data.samples() >= 1, data.name(), " has no samples to calibrate with");
  std::erase_if(fields_, [](const Field& field) { return field.name == kIndexField; });
  tensors_ = batch_of(fields_, samples_);
  const std::vector<std::int64_t> from = spread(data, samples_);
  for (std::int64_t i = 0; i < samples_; ++i) {
    stop_if_interrupted();
    TensorMap sample = slice(tensors_, i, 1);
    data.fill(-1, from[static_cast<std::size_t>(i)], sample);
  }
}

void CalibrationSet::fill(std::int64_t, std::int64_t first, TensorMap& batch) const {
  const std::int64_t n = batch_size(batch, fields_, name_);
  check(first >= 0 && first + n <= samples_, name_, ": samples ", first, " to ", first + n,
        " of a calibration set of ", samples_);
  copy_rows(tensors_, first, batch);
}

std::int64_t CalibrationSet::batch_for(const Graph& graph) const {
  if (const std::int64_t streams = nn::stream_batch(graph, *this); streams > 0) return streams;
  return std::min(samples_, nn::evaluation_batch(fields_, graph));
}

TensorMap CalibrationSet::inputs(const Plan& plan, std::int64_t first, std::int64_t n) const {
  TensorMap out = slice(tensors_, first, n);
  std::erase_if(out, [&](const auto& entry) { return !plan.has_input(entry.first); });
  return out;
}

void CalibrationSet::draw_targets(const nn::Task& task, const Graph& inference, const State& state,
                                  std::uint64_t seed) {
  // Of a copy of the list: contexts of a live plan may write to their state.
  State shared;
  for (const Node* node : inference.states()) shared.set(node->name(), state.get(node->name()));
  for (const Field& target : task.targets()) {
    std::erase_if(fields_, [&](const Field& field) { return field.name == target.name; });
    fields_.push_back(target);
    tensors_.insert_or_assign(target.name, target.tensor(samples_));
  }
  const std::int64_t most = batch_for(inference);
  std::optional<Plan> plan;
  std::optional<RunContext> context;
  std::int64_t rows = 0;
  for (std::int64_t first = 0; first < samples_; first += rows) {
    stop_if_interrupted();
    const std::int64_t n = std::min(most, samples_ - first);
    if (n != rows) {
      plan.emplace(compile(inference, shared, {.batch = n}));
      context.emplace(plan->context());
    }
    rows = n;
    for (const auto& [name, tensor] : inputs(*plan, first, n)) context->bind(name, tensor);
    context->run();
    TensorMap outputs;
    for (const auto& [name, value] : inference.outputs())
      outputs.emplace(name, context->output(name));
    TensorMap batch = slice(tensors_, first, n);
    task.draw_targets(outputs, seed, first, batch, name_);
  }
}

}  // namespace tessera::quant
