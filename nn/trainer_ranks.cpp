// What several ranks do together in a step, and with their states.
#include <algorithm>

#include "core/op_def.h"
#include "nn/trainer.h"
#include "nn/trainer_step.h"
#include "ops/communication/communication.h"

namespace tessera::nn {

namespace {

std::int64_t bytes_of(Value v) {
  return 4 * v.shape().numel();
}

}  // namespace

// The last parameters' gradients are made first.
void Trainer::average(Scope& scope, std::vector<Value>& gradients,
                      const std::vector<std::string>& names, std::vector<Value>& also) {
  if (ranks().alone()) return;
  std::vector<std::vector<std::size_t>> buckets;
  std::int64_t bytes = 0;
  for (std::size_t i = names.size(); i-- > 0;) {
    // What a loss does not reach is zero on every rank.
    if (!gradients[i] || constant_value(gradients[i]) == 0.0) continue;
    const std::int64_t more = bytes_of(gradients[i]);
    if (buckets.empty() || bytes + more > ranks().bucket_bytes) {
      buckets.emplace_back();
      bytes = 0;
    }
    buckets.back().push_back(i);
    bytes += more;
  }
  if (buckets.empty()) buckets.emplace_back();
  for (std::size_t b = 0; b < buckets.size(); ++b) {
    std::vector<Value> values;
    for (const std::size_t i : buckets[b]) values.push_back(gradients[i]);
    std::vector<std::int64_t> exact;
    const bool last = b + 1 == buckets.size();
    for (std::size_t i = 0; last && i < also.size(); ++i) {
      exact.push_back(static_cast<std::int64_t>(values.size()));
      values.push_back(also[i]);
    }
    if (values.empty()) continue;
    const std::vector<Value> means = average_bucket(scope, values, std::move(exact));
    for (std::size_t i = 0; i < buckets[b].size(); ++i) gradients[buckets[b][i]] = means[i];
    for (std::size_t i = 0; last && i < also.size(); ++i) also[i] = means[buckets[b].size() + i];
  }
}

std::vector<Value> Trainer::average_bucket(Scope& scope, const std::vector<Value>& values,
                                           std::vector<std::int64_t> exact) {
  ops::Bucket bucket{values, std::move(exact), ranks().gradients};
  if (bucket.code.loses()) {
    std::int64_t total = 0;
    for (const Value v : values) total += v.shape().numel();
    const std::string name = cat(kGradientsPrefix, buckets_++, ".");
    bucket.residual = scope.global_state(name + "residual", {total}, Init::constant(0));
    bucket.mean_residual = scope.global_state(name + "mean_residual", {total}, Init::constant(0));
  }
  const ops::Reduced means = ops::all_reduce_bucket(scope.graph(), bucket, ranks().size());
  if (bucket.code.loses()) {
    scope.update(bucket.residual, means.residual);
    scope.update(bucket.mean_residual, means.mean_residual);
  }
  return means.values;
}

void Trainer::require_same_exchanges(const Plan& plan) const {
  if (ranks().alone()) return;
  std::string order;
  for (const StepInfo& step : plan.steps()) {
    const OpDef* op = train_graph_->ops().find(step.op);
    if (op != nullptr && op->has(kCommunicates))
      order += cat(step.op, " ", step.name, " ", step.type, " ", step.note, "\n");
  }
  require_agreement(*ranks().communicator, {{"order of what ranks exchange in a step", order}});
}

void Trainer::share_outcome(Graph& graph, const std::vector<Value>& also) {
  if (also.empty()) return;
  graph.set_output("loss", also[0]);
  graph.set_output(kStopVote, also[1]);
  graph.set_output(kSaveVote, also[2]);
}

State Trainer::whole_state() {
  if (!ranks().alone()) return gathered(*ranks().communicator, *state_);
  State out;
  for (const auto& [name, entry] : state_->entries()) out.set(name, entry.tensor);
  return out;
}

void Trainer::take_whole_state(State state) {
  take_own(ranks(), state);
  *state_ = std::move(state);
  drop_plans();  // the step that is built next adds what the states lack
}

}  // namespace tessera::nn
