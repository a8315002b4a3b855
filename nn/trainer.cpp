#include "nn/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/autodiff.h"
#include "core/interrupt.h"
#include "ops/op_list.h"

namespace tessera::nn {

namespace {

constexpr const char* kUpdates = "optimizer.updates";

Shape batched(const Shape& sample) {
  Shape shape{kBatch};
  for (const Dim d : sample.dims()) shape.push_back(d);
  return shape;
}

Shape with_rows(const Shape& sample, std::int64_t n) {
  return batched(sample).bind(n);
}

// Gradients of weights (matrices, kernels) are decayed and compressed; biases and scales are not.
bool is_weight(const ParameterSpec& p) {
  return p.type.shape.rank() >= 2;
}

// Logits before this one by size; of equal ones the first comes first, NaN counts as the largest.
std::int64_t rank_of(const float* row, std::int64_t classes, std::int32_t label) {
  const float own = row[label];
  return std::count_if(row, row + label, [&](float v) { return !(v < own); }) +
         std::count_if(row + label + 1, row + classes, [&](float v) { return !(v <= own); });
}

// The factor that brings the gradients' common norm to at most `limit`; a NaN stays one.
Value clip_factor(const std::vector<Value>& gradients, double limit) {
  Value squares;
  for (const Value g : gradients) {
    const Value s = ops::sum(ops::square(g));
    squares = squares ? squares + s : s;
  }
  return limit / ops::maximum(ops::sqrt(squares), limit);
}

}  // namespace

ParameterGroup group_of(const OptimizerOptions& options, const ParameterSpec& parameter) {
  ParameterGroup group;
  if (options.group) group = options.group(parameter.name);
  if (!group.weight_decay) group.weight_decay = is_weight(parameter) ? options.weight_decay : 0.0;
  check(std::isfinite(group.lr_scale) && group.lr_scale >= 0, "the learning rate scale of '",
        parameter.name, "' must be 0 or more, got ", group.lr_scale);
  check(std::isfinite(*group.weight_decay) && *group.weight_decay >= 0, "the weight decay of '",
        parameter.name, "' must be 0 or more, got ", *group.weight_decay);
  return group;
}

Graph inference_graph(const Module& model, const Shape& sample) {
  Graph graph(ops::standard_ops());
  Scope scope(graph);
  graph.set_output("logits",
                   model.forward(scope, graph.input("x", {DType::f32, batched(sample), {}})));
  return graph;
}

std::int64_t evaluation_batch(const Shape& sample) {
  constexpr std::int64_t kValues = std::int64_t{1} << 20;
  return std::clamp<std::int64_t>(kValues / std::max<std::int64_t>(1, sample.numel()), 16, 1000);
}

Model initial_model(const Module& model, const Shape& sample, std::uint64_t seed) {
  Model out{Graph(ops::standard_ops()), {}, {}};
  Scope scope(out.graph);
  const Value x = out.graph.input("x", {DType::f32, batched(sample), {}});
  out.graph.set_output("logits", model.forward(scope, x));
  initialize(out.state, scope.parameters(), seed);
  initialize(out.state, scope.states(), seed);
  return out;
}

Model inference_model(const Trainer& trainer) {
  Model model{inference_graph(trainer.model(), trainer.sample()), {}, {}};
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

Evaluation Evaluator::operator()(State& state, const BatchSource& data, std::int64_t batch) {
  Evaluation out;
  const Shape sample = data.sample_shape();
  if (batch == 0) batch = evaluation_batch(sample);
  std::optional<RunContext> context;
  std::int64_t rows = 0;
  double loss = 0;
  Tensor x, y;
  for (std::int64_t first = 0; first < data.samples(); first += rows) {
    const std::int64_t n = std::min(batch, data.samples() - first);
    if (n != rows) {
      auto at = plans_.find(n);
      if (at == plans_.end()) {
        CompileOptions options = options_;
        options.batch = n;
        at = plans_.emplace(n, compile(graph_, options)).first;
      }
      context.emplace(at->second.context(state));
      x = Tensor(DType::f32, with_rows(sample, n));
      y = Tensor(DType::s32, Shape{n});
      context->bind("x", x);
      rows = n;
    }
    data.fill(-1, first, x, y);
    context->run();
    const Tensor& logits = context->output("logits");
    const auto values = logits.span<float>();
    const auto labels = y.span<std::int32_t>();
    const std::int64_t classes = logits.shape()[1].value();
    for (std::int64_t i = 0; i < n; ++i) {
      const float* row = values.data() + i * classes;
      const float* best = std::max_element(row, row + classes);
      double sum = 0;
      for (std::int64_t c = 0; c < classes; ++c)
        sum += std::exp(static_cast<double>(row[c] - *best));
      const std::int32_t label = labels[static_cast<std::size_t>(i)];
      check(label >= 0 && label < classes, data.name(), ": label ", label, " of sample ", first + i,
            " is outside the network's ", classes, " classes");
      loss += std::log(sum) + *best - row[label];
      out.correct += best - row == label;
      out.correct5 += rank_of(row, classes, label) < 5;
    }
  }
  out.samples = data.samples();
  check(out.samples > 0, data.name(), " has no samples");
  out.loss = loss / static_cast<double>(out.samples);
  out.accuracy = static_cast<double>(out.correct) / static_cast<double>(out.samples);
  return out;
}

struct Trainer::Compiled {
  Plan plan;
  RunContext context;
  Tensor x, y, step{DType::s64, {}};  // step: what random ops are keyed by
  Compiled(Plan p, State& state, const Shape& sample, std::int64_t n)
      : plan(std::move(p)),
        context(plan.context(state)),
        x(DType::f32, with_rows(sample, n)),
        y(DType::s32, Shape{n}) {
    context.bind("x", x);
    context.bind("y", y);
  }
};

Trainer::Trainer(std::shared_ptr<const Module> model, Shape sample, std::int64_t classes,
                 TrainerOptions options)
    : model_(std::move(model)),
      sample_(std::move(sample)),
      classes_(classes),
      options_(std::move(options)) {
  check(options_.batch >= 1, "batch must be at least 1, got ", options_.batch);
  Graph graph(ops::standard_ops());
  Scope scope(graph);
  const Value logits = model_->forward(scope, graph.input("x", {DType::f32, batched(sample_), {}}));
  check(logits.shape() == Shape({kBatch, classes_}), "the model gives ", logits.type().text(),
        ", expected logits f32[batch,", classes_, "]");
  parameters_ = scope.parameters();
  states_ = scope.states();
  initialize(*state_, parameters_, options_.seed);
  initialize(*state_, states_, options_.seed);
  reset_optimizer();
}

void Trainer::add_objective(std::shared_ptr<const WeightObjective> objective) {
  objectives_.push_back(std::move(objective));
  train_graph_.reset();
  compiled_.clear();
}

void Trainer::clear_objectives() {
  objectives_.clear();
  train_graph_.reset();
  compiled_.clear();
}

void Trainer::set(const std::string& input, double value) {
  scalars_[input] = value;
}

void Trainer::reset_optimizer() {
  const bool adam = options_.optimizer.kind == OptimizerOptions::Kind::adam;
  for (const auto& p : parameters_) {
    if (options_.frozen && options_.frozen(p.name)) continue;
    state_->set(p.name + ".momentum", Tensor(DType::f32, p.type.shape));
    if (adam) state_->set(p.name + ".variance", Tensor(DType::f32, p.type.shape));
  }
  if (adam) state_->set(kUpdates, Tensor(DType::f32, {}));
}

void Trainer::build() {
  Graph graph(ops::standard_ops());
  Scope scope(graph, /*training=*/true);
  const Value x = graph.input("x", {DType::f32, batched(sample_), {}});
  const Value y = graph.input("y", {DType::s32, Shape{kBatch}, {}});
  const Value logits = model_->forward(scope, x);
  const Value loss = ops::mean(ops::cross_entropy(logits, y, options_.label_smoothing));
  graph.set_output("loss", loss);

  std::vector<ParameterSpec> trained;
  std::vector<Value> weights;
  for (const auto& p : parameters_) {
    if (options_.frozen && options_.frozen(p.name)) continue;
    trained.push_back(p);
    weights.push_back(graph.param(p.name, p.type));
  }
  const std::vector<Value> gradients = grad(loss, weights);
  const Value lr = graph.input("lr", f32({}));
  const OptimizerOptions& optimizer = options_.optimizer;
  check(std::isfinite(optimizer.clip_norm) && optimizer.clip_norm >= 0,
        "clip_norm must be 0 or more, got ", optimizer.clip_norm);
  Value clip;
  if (optimizer.clip_norm > 0) clip = clip_factor(gradients, optimizer.clip_norm);
  Value updates;  // since the moments were last zero, this one included
  if (optimizer.kind == OptimizerOptions::Kind::adam) {
    const Value before = graph.state(kUpdates, f32({}));
    updates = before + 1.0;
    graph.set_update(before, updates);
  }
  for (std::size_t i = 0; i < trained.size(); ++i) {
    Value g = clip ? gradients[i] * clip : gradients[i];
    for (const auto& objective : objectives_) {
      if (const Value extra = objective->gradient(graph, trained[i].name, weights[i]))
        g = g + extra;
    }
    const ParameterGroup group = group_of(optimizer, trained[i]);
    const Value rate = group.lr_scale == 1 ? lr : lr * group.lr_scale;
    const Value momentum = graph.state(trained[i].name + ".momentum", trained[i].type);
    if (optimizer.kind == OptimizerOptions::Kind::sgd) {
      const auto next = ops::sgd_update(weights[i], g, momentum, rate, optimizer.momentum,
                                        optimizer.nesterov, *group.weight_decay);
      graph.set_update(weights[i], next.param);
      graph.set_update(momentum, next.momentum);
    } else {
      const Value variance = graph.state(trained[i].name + ".variance", trained[i].type);
      const auto next = ops::adam_update(weights[i], g, momentum, variance, updates, rate,
                                         *group.weight_decay, optimizer.adam);
      graph.set_update(weights[i], next.param);
      graph.set_update(momentum, next.mean);
      graph.set_update(variance, next.variance);
    }
  }
  train_graph_.emplace(std::move(graph));
}

const Graph& Trainer::train_graph() {
  if (!train_graph_) build();
  return *train_graph_;
}

Trainer::Compiled& Trainer::compiled(std::int64_t batch) {
  auto& slot = compiled_[batch];
  if (!slot) {
    slot = std::make_shared<Compiled>(
        compile(train_graph(), {.batch = batch, .bf16 = options_.bf16}), *state_, sample_, batch);
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

std::int64_t Trainer::steps_per_epoch(const BatchSource& data) const {
  return (data.samples() + options_.batch - 1) / options_.batch;
}

EpochReport Trainer::train_epoch(const BatchSource& data, Position& position,
                                 const std::function<double(double)>& lr,
                                 const std::function<void(const StepReport&)>& on_step) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  EpochReport report;
  report.steps = steps_per_epoch(data);
  check(data.samples() > 0, data.name(), " has no samples");
  while (position.step < report.steps) {
    const std::int64_t first = position.step * options_.batch;
    const std::int64_t n = std::min(options_.batch, data.samples() - first);
    Compiled& step = compiled(n);
    data.fill(position.epoch, first, step.x, step.y);
    const double progress = static_cast<double>(position.epoch) +
                            static_cast<double>(position.step) / static_cast<double>(report.steps);
    const double rate = lr(progress);
    step.context.set("lr", static_cast<float>(rate));
    for (const auto& [name, value] : scalars_) {
      if (step.plan.has_input(name)) step.context.set(name, static_cast<float>(value));
    }
    step.step.span<std::int64_t>()[0] = position.epoch * report.steps + position.step;
    step.context.run();
    const double loss = step.context.output("loss").item();
    check(std::isfinite(loss), "the loss became ", loss, " in epoch ", position.epoch, ", step ",
          position.step,
          "; a smaller learning rate may help (TESSERA_CHECK=nan finds the first node)");
    position.loss_sum += loss * static_cast<double>(n);
    ++position.step;
    const double seen =
        static_cast<double>(std::min(position.step * options_.batch, data.samples()));
    if (on_step)
      on_step({position.epoch, position.step, report.steps, position.loss_sum / seen, rate});
    if (interrupted() && position.step < report.steps) return report;
  }
  report.finished = true;
  report.loss = position.loss_sum / static_cast<double>(data.samples());
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  position = {position.epoch + 1, 0, 0};
  return report;
}

Evaluation Trainer::evaluate(const BatchSource& data) {
  if (!evaluator_) evaluator_.emplace(inference_graph(*model_, sample_));
  return (*evaluator_)(*state_, data);
}

}  // namespace tessera::nn
