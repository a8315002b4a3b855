#include "quant/method/distill.h"

#include <algorithm>
#include <cmath>

#include "ops/build.h"
#include "ops/communication/communication.h"
#include "ops/embedding/embedding.h"

namespace tessera::quant {

namespace {

constexpr const char* kMemory = "distill.memory";
constexpr const char* kAlpha = "distill.alpha";
constexpr const char* kTeacher = "teacher";

// A row for every sample: what is predicted of it, [batch, k].
TensorType memory_type(Value prediction, std::int64_t samples) {
  check(prediction.shape().rank() == 2 && prediction.shape()[0] == kBatch,
        "a memory of predictions needs one for each sample, [batch, k], got ",
        prediction.type().text(), "; a teacher takes any");
  return {DType::bf16, Shape{samples, prediction.shape()[1]}, {}};
}

// The predictions of the epoch before: rows of the memory, which this step's replace.
Value remembered(nn::StepBuilder& step, std::int64_t samples) {
  Value now = step.task.prediction(step.outputs);
  const Value target = step.task.target(step.field, step.outputs, 0);
  const Value memory = step.graph.state(kMemory, memory_type(now, samples));
  Value index = step.field(kIndexField);
  const Value rows = ops::embedding(memory, index);
  if (const std::int64_t ranks = step.scope.ranks(); ranks > 1) {  // every rank remembers all
    index = ops::all_gather(index, ranks);
    now = ops::all_gather(now, ranks);
  }
  step.graph.set_update(memory, ops::scatter_rows(memory, index, now));
  // What a row lacks to 1 goes to the target: all of it before the first visit, then the rounding
  // to bf16.
  return rows + target * (1.0 - ops::sum(rows, {1}, true));
}

Value teacher_prediction(nn::StepBuilder& step) {
  nn::Scope scope(step.graph);
  return scope.in(kTeacher,
                  [&] { return step.task.prediction(step.network.forward(scope, step.inputs)); });
}

}  // namespace

Value SelfDistillation::loss(nn::StepBuilder& step) const {
  const Value predicted =
      kind_ == DistillOptions::Kind::memory ? remembered(step, samples_) : teacher_prediction(step);
  const Value alpha = step.graph.input(kAlpha, f32({}));
  if (task_) {
    const Value known = step.task.loss_to(step.field, step.outputs, ops::detach(predicted));
    return (1.0 - alpha) * task_->loss(step) + alpha * known;
  }
  const Value hard = step.task.target(step.field, step.outputs, step.label_smoothing);
  return step.task.loss_to(step.field, step.outputs,
                           ops::detach((1.0 - alpha) * hard + alpha * predicted));
}

void Distiller::prepare(nn::Trainer& trainer, std::int64_t samples) const {
  if (options_.kind == DistillOptions::Kind::memory) {
    const nn::Task& task = *trainer.task();
    Graph graph = nn::inference_graph(trainer);  // gets the prediction
    nn::Values outputs;
    for (const auto& [name, value] : graph.outputs()) outputs.emplace(name, value);
    trainer.state().set(kMemory,
                        Tensor(DType::bf16, memory_type(task.prediction(outputs), samples).shape));
  }
  if (options_.kind == DistillOptions::Kind::teacher ||
      options_.kind == DistillOptions::Kind::reference)
    copy_network(trainer);
}

void Distiller::attach(nn::Trainer& trainer, std::int64_t samples) const {
  if (active()) {
    trainer.set_task_loss(
        std::make_shared<SelfDistillation>(options_.kind, samples, trainer.terms_set().task_loss));
  }
}

void Distiller::set_scalars(nn::Trainer& trainer, double progress, std::int64_t epochs) const {
  if (!active()) return;  // another's alpha
  const double epoch = std::floor(progress * static_cast<double>(epochs) + 0.5);
  const bool own = options_.kind != DistillOptions::Kind::reference;
  const double all = std::max(static_cast<double>(epochs), own ? options_.full_epochs : 1);
  trainer.set(kAlpha, options_.alpha * (epoch + 1) / all);
}

void Distiller::finish_epoch(nn::Trainer& trainer) const {
  if (options_.kind == DistillOptions::Kind::teacher) copy_network(trainer);
}

void Distiller::copy_network(nn::Trainer& trainer) const {
  for (const auto* specs : {&trainer.parameters(), &trainer.states()}) {
    for (const auto& p : *specs) {
      trainer.state().set(cat(kTeacher, ".", p.name), trainer.state().get(p.name).clone());
    }
  }
}

const Names<DistillOptions::Kind>& DistillOptions::kinds() {
  static const Names<Kind> all("distillation", {{"memory", Kind::memory},
                                                {"teacher", Kind::teacher},
                                                {"reference", Kind::reference},
                                                {"none", Kind::none}});
  return all;
}

std::vector<Setting> distill_settings() {
  const DistillOptions usual;
  return {Setting::choice("distill", usual.kind,
                          "MOCQ: soft targets from each sample's last prediction, from the network "
                          "of the epoch before, or from the one at the start",
                          "mocq.distill", DistillOptions::kinds()),
          Setting::number("distill-alpha", usual.alpha, "their share at the end",
                          "mocq.distill_alpha", 0, 1),
          Setting::number("distill-epochs", 30,
                          "MOCQ: epochs in which it grows so far where the network learns from "
                          "itself; fewer end below (1: never below)",
                          "mocq.distill_epochs", 1, 1e6)};
}

DistillOptions distill_options(const Settings& s) {
  return {DistillOptions::kinds().parse(s.text("distill")), s.number("distill-alpha"),
          s.number("distill-epochs")};
}

}  // namespace tessera::quant
