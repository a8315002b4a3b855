// The graph of one training step: losses, their gradients, objectives, updates.
#include "nn/trainer_step.h"

#include <algorithm>
#include <cmath>

#include "core/autodiff.h"
#include "core/op_def.h"
#include "nn/trainer.h"
#include "ops/communication/communication.h"
#include "ops/op_list.h"

namespace tessera::nn {

std::string moment_name(const std::string& parameter, const std::string& moment) {
  return cat(parameter, ".", moment);
}

std::string term_output(const TermNodes& term, const char* what) {
  return cat(term.weight, ".", term.objective, ".", what);
}

std::string weighting_output(const std::string& name) {
  return cat("weighting.", name);
}

std::vector<Field> step_fields(const Task& task) {
  std::vector<Field> out = task.fields();
  out.push_back({kIndexField, DType::s32});
  return out;
}

// A parameter of the step with its gradient.
struct Trainer::Trained {
  std::string name;
  Value parameter, gradient;
  ParameterGroup group;
};

// Nodes that update the trained parameters and their moments.
void Trainer::add_updates(Graph& graph, const std::vector<Trained>& trained) const {
  const OptimizerOptions& options = options_.optimizer;
  const Optimizer& kind = optimizer(options.name);
  const Value lr = graph.input("lr", f32({}));
  Value count;
  if (kind.counts) {
    const Value before = graph.state(kUpdates, f32({}));
    count = before + 1.0;
    graph.set_update(before, count);
  }
  for (const Trained& t : trained) {
    Update update{t.parameter,
                  t.gradient,
                  {},
                  count,
                  t.group.lr_scale == 1 ? lr : lr * t.group.lr_scale,
                  t.group.weight_decay.value_or(0.0),
                  options};
    for (const std::string& moment : moments_of(options))
      update.moments.push_back(graph.state(moment_name(t.name, moment), t.parameter.type()));
    const Updated next = kind.update(update);
    graph.set_update(t.parameter, next.parameter);
    for (std::size_t i = 0; i < next.moments.size(); ++i)
      graph.set_update(update.moments[i], next.moments[i]);
  }
}

std::vector<GradientTransform> Trainer::gradient_transforms() const {
  std::vector<GradientTransform> out = options_.gradients;
  const double limit = options_.optimizer.clip_norm;
  check(std::isfinite(limit) && limit >= 0, "clip_norm must be 0 or more, got ", limit);
  if (limit > 0) out.push_back(clip_by_norm(limit));
  return out;
}

bool Trainer::is_models(const std::string& name) const {
  const auto named = [&](const ParameterSpec& p) { return p.name == name; };
  return std::any_of(parameters_.begin(), parameters_.end(), named) ||
         std::any_of(states_.begin(), states_.end(), named);
}

void Trainer::build() {
  Graph graph(ops::standard_ops());
  Scope scope(graph, /*training=*/true);
  scope.set_ranks(ranks().size());
  buckets_ = 0;
  std::map<std::string, ParameterGroup> made_by_transforms;
  StepBuilder step = begin_step(graph, scope, made_by_transforms);
  const std::vector<NamedLoss> losses = add_losses(step);
  Value loss = losses.front().value;
  for (const NamedLoss& l : std::span(losses).subspan(1)) loss = loss + l.value;
  if (ranks().alone()) graph.set_output("loss", loss);
  shown_.clear();
  Value total;
  if (const auto minimised = loss_weighting(options_.weighting.name).total;
      minimised && weighs(options_.weighting)) {
    Shown shown;
    total = minimised(scope, losses, options_.weighting, shown);
    show(graph, shown);
  } else if (minimised) {
    total = loss;
  }

  // The model's own parameters in its order, then what transforms and losses added.
  std::vector<ParameterSpec> model;
  std::vector<Trained> trained;
  for (const auto& p : parameters_) {
    if (is_frozen(p.name)) continue;
    model.push_back(p);
    trained.push_back({p.name, graph.param(p.name, p.type), {}, group_of(options_.optimizer, p)});
  }
  for (const auto& p : scope.parameters()) {
    if (is_models(p.name)) continue;
    const auto made = made_by_transforms.find(p.name);
    trained.push_back({p.name,
                       graph.param(p.name, p.type),
                       {},
                       made == made_by_transforms.end() ? ParameterGroup{1, 0.0} : made->second});
  }
  std::vector<Value> weights;
  for (std::size_t i = 0; i < model.size(); ++i) weights.push_back(trained[i].parameter);
  ObjectivePass objectives(scope, terms_set_.objectives, model, weights);
  add_gradients(scope, losses, total, loss, objectives, trained);
  add_objectives(graph, objectives, model.size(), trained);
  check(!trained.empty(), "nothing to train: TrainerOptions::frozen holds for every parameter");
  add_updates(graph, trained);
  keep_own(scope);
  train_graph_.emplace(std::move(graph));
}

StepBuilder Trainer::begin_step(Graph& graph, Scope& scope,
                                std::map<std::string, ParameterGroup>& made_by_transforms) const {
  scope.set_weight_hook([&](Scope& s, const std::string& name, Value weight) {
    const auto& transforms = terms_set_.transforms;
    for (auto t = transforms.rbegin(); t != transforms.rend(); ++t) {
      const std::size_t before = s.parameters().size();
      weight = (*t)->apply(s, name, weight);
      for (std::size_t i = before; i < s.parameters().size(); ++i)
        made_by_transforms.emplace(s.parameters()[i].name, (*t)->own_group());
    }
    return weight;
  });
  StepBuilder step{graph,
                   scope,
                   *network_,
                   *task_,
                   {graph, step_fields(*task_), ranks().size()},
                   {},
                   {},
                   options_.label_smoothing};
  for (const Field& field : task_->fields()) {  // all are inputs, in the task's order
    const Value value = step.field(field.name);
    if (find_field(task_->inputs(), field.name)) step.inputs.emplace(field.name, value);
  }
  step.outputs = network_->forward(scope, step.inputs);
  scope.set_weight_hook(nullptr);
  return step;
}

std::vector<NamedLoss> Trainer::add_losses(StepBuilder& step) const {
  std::vector<NamedLoss> out;
  if (terms_set_.task_loss) {
    out.push_back({"loss", terms_set_.task_loss->loss(step)});
  } else if (weighs(options_.weighting)) {
    out = task_->losses(step.field, step.outputs, step.label_smoothing);
  } else {
    out.push_back({"loss", task_->loss(step.field, step.outputs, step.label_smoothing)});
  }
  check(!out.empty(), "the task '", task_->name(), "' has no losses");
  for (std::size_t i = 0; i < out.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j)
      check(out[i].name != out[j].name, "two losses of the task '", task_->name(), "' are named '",
            out[i].name, "'");
  }
  require_weighting(options_.weighting, out.size());
  if (!ranks().alone() && weighs(options_.weighting)) {  // what weighs them is the joint ones
    std::vector<Value> values;
    for (const NamedLoss& l : out) values.push_back(l.value);
    values = ops::all_reduce(values, ranks().size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i].value = values[i];
  }
  return out;
}

void Trainer::show(Graph& graph, const Shown& shown) {
  for (const auto& [name, value] : shown) {
    graph.set_output(weighting_output(name), value);
    shown_.push_back(name);
  }
}

void Trainer::add_gradients(Scope& scope, const std::vector<NamedLoss>& losses, Value total,
                            Value loss, ObjectivePass& objectives, std::vector<Trained>& trained) {
  std::vector<Value> parameters, gradients;
  std::vector<std::string> names;
  for (const Trained& t : trained) {
    parameters.push_back(t.parameter);
    names.push_back(t.name);
  }
  if (weighs(options_.weighting)) {
    Shown values;
    for (const NamedLoss& l : losses) values.emplace_back("loss." + l.name, l.value);
    show(scope.graph(), values);
  }
  // What travels with the last gradients: the loss, and whether to stop or save.
  std::vector<Value> also;
  if (!ranks().alone()) {
    also = {loss, scope.graph().input(kStopVote, f32({})), scope.graph().input(kSaveVote, f32({}))};
  }
  if (total) {
    gradients = grad(total, parameters);
    average(scope, gradients, names, also);
  } else {
    std::vector<JointGradient> each;
    for (std::size_t i = 0; i < losses.size(); ++i) {
      const std::vector<double>& preference = options_.weighting.preference;
      each.push_back({losses[i].name, preference.empty() ? 1 : preference[i],
                      grad(losses[i].value, parameters)});
      for (Value& g : each.back().by) {
        if (constant_value(g) == 0.0) g = {};
      }
      std::vector<Value> none, &with = i + 1 == losses.size() ? also : none;
      average(scope, each.back().by, names, with);
    }
    for (JointGradient& g : objectives.joint()) {
      g.by.resize(parameters.size());
      each.push_back(std::move(g));
    }
    JointGradients joined = join_gradients(scope, options_.weighting, each, names);
    objectives.joined(std::span(joined.weights).subspan(losses.size()));
    show(scope.graph(), joined.shown);
    for (std::size_t i = 0; i < parameters.size(); ++i)
      gradients.push_back(joined.by[i] ? joined.by[i]
                                       : scope.graph().constant(0.0, parameters[i].type()));
  }
  share_outcome(scope.graph(), also);
  std::vector<NamedGradient> named;
  for (std::size_t i = 0; i < trained.size(); ++i) named.push_back({names[i], gradients[i]});
  for (const GradientTransform& transform : gradient_transforms()) transform(scope, named);
  for (std::size_t i = 0; i < trained.size(); ++i) trained[i].gradient = named[i].gradient;
}

void Trainer::add_objectives(Graph& graph, ObjectivePass& objectives, std::size_t weights,
                             std::vector<Trained>& trained) {
  std::vector<Value> gradients;
  for (std::size_t i = 0; i < weights; ++i) gradients.push_back(trained[i].gradient);
  std::vector<OwnGradient> own;
  terms_.clear();
  for (const TermNodes& term : objectives.add(gradients, own)) {
    terms_.emplace_back(term.objective, term.weight);
    // Scalars that exist anyway.
    graph.set_output(term_output(term, "coefficient"), term.coefficient);
    if (term.task_norm) graph.set_output(term_output(term, "task_norm"), term.task_norm);
    if (term.objective_norm)
      graph.set_output(term_output(term, "objective_norm"), term.objective_norm);
  }
  for (std::size_t i = 0; i < weights; ++i) trained[i].gradient = gradients[i];
  for (const OwnGradient& o : own) {
    // An objective may pull at a parameter that the transform, or another one, made.
    const auto known = std::find_if(trained.begin(), trained.end(),
                                    [&](const Trained& t) { return t.parameter == o.parameter; });
    if (known == trained.end()) {
      trained.push_back({o.parameter.node->name(), o.parameter, o.gradient, o.group});
    } else {
      known->gradient = known->gradient + o.gradient;
    }
  }
}

void Trainer::keep_own(Scope& scope) {
  own_.clear();
  own_states_.clear();
  for (const auto* made : {&scope.parameters(), &scope.states()}) {
    const bool parameters = made == &scope.parameters();
    for (const auto& p : *made) {
      if (!state_->has(p.name)) state_->set(p.name, p.init(p.type.shape, options_.seed, p.name));
      if (!is_models(p.name)) (parameters ? own_ : own_states_).push_back(p);
    }
  }
  for (const auto& p : own_) {
    for (const std::string& moment : moments_of(options_.optimizer)) {
      const std::string name = moment_name(p.name, moment);
      if (scope.graph().find_leaf(name) && !state_->has(name))
        state_->set(name, Tensor(DType::f32, p.type.shape));
    }
  }
}

}  // namespace tessera::nn
