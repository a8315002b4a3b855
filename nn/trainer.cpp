#include "nn/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "core/interrupt.h"
#include "nn/schedule.h"
#include "nn/trainer_step.h"
#include "ops/op_list.h"

namespace tessera::nn {

Graph inference_graph(const Trainer& trainer) {
  return inference_graph(trainer.network(), *trainer.task());
}

Model inference_model(const Trainer& trainer) {
  Model model{inference_graph(trainer), {}, {}};
  for (const Node* node : model.graph.states()) {
    model.state.set(node->name(), trainer.state().get(node->name()).clone());
  }
  return model;
}

void set_weights(Trainer& trainer, const State& weights) {
  for (const auto* specs : {&trainer.parameters(), &trainer.states()}) {
    for (const auto& p : *specs) {
      check(weights.has(p.name), "the weights lack '", p.name, "'");
      const Tensor& tensor = weights.get(p.name);
      check(tensor.dtype() == p.type.dtype && tensor.shape() == p.type.shape, "'", p.name,
            "' must be ", p.type.text(), ", the weights have ", tensor.text_type());
    }
  }
  for (const auto* specs : {&trainer.parameters(), &trainer.states()}) {
    for (const auto& p : *specs) trainer.state().set(p.name, weights.get(p.name).clone());
  }
}

struct Trainer::TermValues {
  Plan plan;
  RunContext context;
};

struct Trainer::Compiled {
  Plan plan;
  RunContext context;
  TensorMap batch;              // the fields that the step asks for
  Tensor step{DType::s64, {}};  // what random ops are keyed by
  bool agreed = false;          // of several ranks: that all exchange alike
  Compiled(Plan p, State& state, std::span<const Field> fields, std::int64_t n)
      : plan(std::move(p)), context(plan.context(state)) {
    for (const Field& field : fields) {
      if (!plan.has_input(field.name)) continue;
      const auto at = batch.emplace(field.name, field.tensor(n)).first;
      context.bind(field.name, at->second);
    }
  }
};

Trainer::Trainer(std::shared_ptr<const Network> network, std::shared_ptr<const Task> task,
                 TrainerOptions options)
    : network_(std::move(network)), task_(std::move(task)), options_(std::move(options)) {
  check(network_ != nullptr && task_ != nullptr, "a trainer needs a network and a task");
  check(options_.batch >= 1, "batch must be at least 1, got ", options_.batch);
  check(options_.batch % ranks().size() == 0, "a batch of ", options_.batch,
        " cannot be shared evenly by ", ranks().size(), " ranks; expected a multiple");
  Graph graph(ops::standard_ops());
  Scope scope(graph);
  task_->require_outputs(network_->forward(scope, network_inputs(graph, *task_)));
  parameters_ = scope.parameters();
  for (ParameterSpec& p : parameters_) p.frozen = is_frozen(p.name);
  states_ = scope.states();
  initialize(*state_, parameters_, options_.seed);
  initialize(*state_, states_, options_.seed);
  reset_optimizer();
}

void Trainer::drop_plans() {
  train_graph_.reset();
  compiled_.clear();
  last_ = nullptr;
  values_.reset();
  terms_.clear();
  own_.clear();
  own_states_.clear();
}

void Trainer::add_objective(std::shared_ptr<const Objective> objective) {
  for (const auto& other : terms_set_.objectives) {
    check(other->name() != objective->name(), "two objectives are named '", other->name(), "'");
  }
  objective->start(*state_, parameters_);
  scalars_.try_emplace(constant_input(objective->name()), 0.0);
  terms_set_.objectives.push_back(std::move(objective));
  drop_plans();
}

void Trainer::set_task_loss(std::shared_ptr<const TaskLoss> loss) {
  terms_set_.task_loss = std::move(loss);
  drop_plans();
}

void Trainer::add_weight_transform(std::shared_ptr<const WeightTransform> transform) {
  terms_set_.transforms.push_back(std::move(transform));
  drop_plans();
}

void Trainer::set_terms(StepTerms terms) {
  terms_set_ = std::move(terms);
  drop_plans();
}

void Trainer::set(const std::string& input, double value) {
  scalars_[input] = value;
}

void Trainer::set_scalars(const Plan& plan, RunContext& context) const {
  for (const auto& [name, value] : scalars_) {
    if (plan.has_input(name)) context.set(name, static_cast<float>(value));
  }
}

void Trainer::reset_objectives() {
  if (!train_graph_ && !terms_set_.objectives.empty()) build();
  for (const auto& p : own_states_) {
    state_->set(p.name, p.init(p.type.shape, options_.seed, p.name));
  }
}

void Trainer::reset_optimizer() {
  // What objectives, transforms and losses train is known once the step is built.
  if (!train_graph_ && !terms_set_.empty()) build();
  const Optimizer& kind = optimizer(options_.optimizer.name);
  for (const auto* specs : {&parameters_, &own_}) {
    for (const auto& p : *specs) {
      if (is_frozen(p.name)) continue;
      for (const std::string& moment : moments_of(options_.optimizer))
        state_->set(moment_name(p.name, moment), Tensor(DType::f32, p.type.shape));
    }
  }
  if (kind.counts) state_->set(kUpdates, Tensor(DType::f32, {}));
}

std::vector<TermReport> Trainer::terms() {
  std::vector<TermReport> out;
  if (last_ == nullptr || terms_.empty()) return out;
  if (!values_) {
    Graph graph(ops::standard_ops());
    Scope scope(graph);
    for (const auto& objective : terms_set_.objectives) {
      for (const auto& p : parameters_) {
        if (is_frozen(p.name)) continue;
        const auto term = objective->term(scope, p.name, graph.param(p.name, p.type));
        if (term && term->value)
          graph.set_output(term_output({objective->name(), p.name}, "value"), term->value);
      }
    }
    Plan plan = compile(graph);
    RunContext context = plan.context(*state_);
    values_ = std::make_shared<TermValues>(TermValues{std::move(plan), std::move(context)});
  }
  set_scalars(values_->plan, values_->context);
  values_->context.run();
  const auto read = [](const Plan& plan, const RunContext& context, const std::string& name) {
    return plan.has_output(name) ? static_cast<double>(context.output(name).item())
                                 : std::numeric_limits<double>::quiet_NaN();
  };
  for (const auto& [objective, weight] : terms_) {
    const TermNodes term{objective, weight};
    const auto last = [&](const char* what) {
      return read(last_->plan, last_->context, term_output(term, what));
    };
    out.push_back({objective, weight,
                   read(values_->plan, values_->context, term_output(term, "value")),
                   last("coefficient"), last("task_norm"), last("objective_norm")});
  }
  return out;
}

std::vector<std::pair<std::string, double>> Trainer::weighting() const {
  std::vector<std::pair<std::string, double>> out;
  if (last_ == nullptr) return out;
  for (const std::string& name : shown_)
    out.emplace_back(name, last_->context.output(weighting_output(name)).item());
  return out;
}

const Graph& Trainer::train_graph() {
  if (!train_graph_) build();
  return *train_graph_;
}

Trainer::Compiled& Trainer::compiled(std::int64_t batch) {
  auto& slot = compiled_[batch];
  if (!slot) {
    slot = std::make_shared<Compiled>(
        compile(train_graph(),
                {.batch = batch, .bf16 = options_.bf16, .communicator = ranks().communicator}),
        *state_, step_fields(*task_), batch);
    if (slot->plan.has_input("rank")) {
      Tensor rank(DType::s64, {});
      rank.span<std::int64_t>()[0] = ranks().rank();
      slot->context.bind("rank", rank);
    }
    if (slot->plan.has_input("seed")) {
      Tensor seed(DType::s64, {});
      seed.span<std::int64_t>()[0] = static_cast<std::int64_t>(options_.seed);
      slot->context.bind("seed", seed);
      slot->context.bind("step", slot->step);
    }
  }
  return *slot;
}

const Plan& Trainer::train_plan(std::int64_t batch) {
  return compiled(batch).plan;
}

void Trainer::carry(Compiled& step, bool anew) {
  for (const auto& [name, type] : step.plan.carried()) {
    const std::string place = cat(kCarriedPrefix, name);
    if (anew || !state_->has(place)) state_->set(place, Tensor(type.dtype, type.shape));
    step.context.carry(name, state_->get(place));
  }
}

namespace {

// Of an epoch's samples: those that can be shared evenly.
std::int64_t shared_samples(std::int64_t samples, std::int64_t batch, std::int64_t ranks) {
  return samples - samples % batch % ranks;
}

}  // namespace

std::int64_t Trainer::steps_per_epoch(const BatchSource& data) const {
  const std::int64_t samples = shared_samples(data.samples(), options_.batch, ranks().size());
  return (samples + options_.batch - 1) / options_.batch;
}

Traffic Trainer::traffic() const {
  return ranks().alone() ? Traffic() : ranks().communicator->traffic();
}

void Trainer::run_step(Compiled& step) {
  const bool together = step.plan.has_input(kStopVote);
  if (together) {
    step.context.set(kStopVote, interrupted() ? 1.0f : 0.0f);
    step.context.set(kSaveVote, propose_save_ ? 1.0f : 0.0f);
  }
  const Traffic before = traffic();
  try {
    step.context.run();
  } catch (const CommunicationError&) {
    unharmed_ = step.plan.updates_last() && !has_rank_states(*state_);
    throw;
  }
  const Traffic now = traffic();
  sent_.bytes += now.bytes - before.bytes;
  sent_.messages += now.messages - before.messages;
  sent_.seconds += now.seconds - before.seconds;
  last_ = &step;
  stop_agreed_ = together ? step.context.output(kStopVote).item() > 0 : interrupted();
  save_agreed_ = together ? step.context.output(kSaveVote).item() > 0 : propose_save_;
}

EpochReport Trainer::train_epoch(const BatchSource& data, Position& position,
                                 const std::function<double(double)>& lr,
                                 const std::function<void(const StepReport&)>& on_step) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  EpochReport report;
  const std::int64_t together = ranks().size();
  const std::int64_t samples = shared_samples(data.samples(), options_.batch, together);
  sent_ = {};
  report.steps = steps_per_epoch(data);
  unharmed_ = false;
  check(samples > 0, data.name(), " has ",
        together == 1 ? "no samples" : cat(data.samples(), " samples for ", together, " ranks"));
  require_schedule(lr);
  if (const std::int64_t streams = stream_batch(train_graph(), data); streams > 0) {
    check(options_.batch == streams, "batches of ", options_.batch, " samples on ", data.name(),
          ", which has ", streams, " streams: expected one piece of each");
    carry(compiled(streams / together), position.step == 0);
  }
  while (position.step < report.steps) {
    const std::int64_t first = position.step * options_.batch;
    const std::int64_t n = std::min(options_.batch, samples - first);
    Compiled& step = compiled(n / together);
    if (!std::exchange(step.agreed, true)) require_same_exchanges(step.plan);
    const auto asked = Clock::now();
    data.fill(position.epoch, first + ranks().rank() * (n / together), step.batch);
    report.data_seconds += std::chrono::duration<double>(Clock::now() - asked).count();
    const double progress = static_cast<double>(position.epoch) +
                            static_cast<double>(position.step) / static_cast<double>(report.steps);
    const double rate = lr(progress);
    step.context.set("lr", static_cast<float>(rate));
    set_scalars(step.plan, step.context);
    step.step.span<std::int64_t>()[0] = position.epoch * report.steps + position.step;
    run_step(step);
    const double loss = step.context.output("loss").item();
    check(std::isfinite(loss), "the loss became ", std::isnan(loss) ? "no number" : "infinite",
          " in epoch ", position.epoch + 1, ", step ", position.step + 1,
          "; a smaller learning rate may help (TESSERA_CHECK=nan finds the first node)");
    position.loss_sum += loss * static_cast<double>(n);
    ++position.step;
    const auto seen = static_cast<double>(std::min(position.step * options_.batch, samples));
    if (on_step)
      on_step({position.epoch, position.step, report.steps, position.loss_sum / seen, rate});
    if (stop_agreed_ && position.step < report.steps) return report;
  }
  report.finished = true;
  report.loss = position.loss_sum / static_cast<double>(samples);
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  report.sent = sent_;
  position = {position.epoch + 1, 0, 0, position.seconds};
  return report;
}

Evaluation Trainer::evaluate(const BatchSource& data) {
  if (!evaluator_) evaluator_.emplace(inference_graph(*this), task_);
  if (ranks().alone()) return (*evaluator_)(*state_, data);
  // One rank looks, so that all decide by the same numbers.
  Evaluation out;
  if (ranks().rank() == 0) out = (*evaluator_)(*state_, data);
  return shared(*ranks().communicator, std::move(out));
}

}  // namespace tessera::nn
