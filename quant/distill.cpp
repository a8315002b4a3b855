#include "quant/distill.h"

#include <cmath>

#include "ops/build.h"
#include "ops/embedding/embedding.h"

namespace tessera::quant {

namespace {

constexpr const char* kMemory = "distill.memory";
constexpr const char* kAlpha = "distill.alpha";
constexpr const char* kTeacher = "teacher";

TensorType memory_type(std::int64_t samples, std::int64_t classes) {
  return {DType::bf16, Shape{samples, classes}, {}};
}

// The predictions of the epoch before: rows of the memory, which this step's replace.
Value remembered(nn::StepBuilder& step, Value labels, std::int64_t samples, std::int64_t classes) {
  const Value memory = step.graph.state(kMemory, memory_type(samples, classes));
  const Value index = step.index(), rows = ops::embedding(memory, index);
  step.graph.set_update(memory, ops::scatter_rows(memory, index, ops::softmax(step.logits)));
  // What a row lacks to 1 goes to the label: all of it before the first visit, then the rounding
  // to bf16.
  return rows + labels * (1.0 - ops::sum(rows, {1}, true));
}

Value teacher_prediction(nn::StepBuilder& step) {
  nn::Scope scope(step.graph);
  return scope.in(kTeacher, [&] { return ops::softmax(step.model.forward(scope, step.x)); });
}

}  // namespace

DistillOptions::Kind DistillOptions::parse(const std::string& text) {
  if (text == "none") return Kind::none;
  if (text == "memory") return Kind::memory;
  if (text == "teacher") return Kind::teacher;
  fail("distillation '", text, "' is unknown; there are none, memory and teacher");
}

Value SelfDistillation::loss(nn::StepBuilder& step) const {
  const Value labels = ops::one_hot(step.y, classes_);
  const Value predicted = kind_ == DistillOptions::Kind::memory
                              ? remembered(step, labels, samples_, classes_)
                              : teacher_prediction(step);
  const Value alpha = step.graph.input(kAlpha, f32({}));
  if (task_) {
    const Value known = ops::soft_cross_entropy(step.logits, ops::detach(predicted));
    return (1.0 - alpha) * task_->loss(step) + alpha * ops::mean(known);
  }
  const double smoothing = step.label_smoothing;
  const Value hard =
      smoothing > 0 ? labels * (1 - smoothing) + smoothing / static_cast<double>(classes_) : labels;
  return ops::mean(
      ops::soft_cross_entropy(step.logits, ops::detach((1.0 - alpha) * hard + alpha * predicted)));
}

void Distiller::prepare(nn::Trainer& trainer, std::int64_t samples) const {
  if (options_.kind == DistillOptions::Kind::memory) {
    trainer.state().set(kMemory, Tensor(DType::bf16, {samples, trainer.classes()}));
  }
  finish_epoch(trainer);
}

void Distiller::attach(nn::Trainer& trainer, std::int64_t samples) const {
  if (active()) {
    trainer.set_task_loss(std::make_shared<SelfDistillation>(
        options_.kind, samples, trainer.classes(), trainer.terms_set().task_loss));
  }
}

void Distiller::set_scalars(nn::Trainer& trainer, double progress, std::int64_t epochs) const {
  const double epoch = std::floor(progress * static_cast<double>(epochs) + 0.5);
  trainer.set(kAlpha, options_.alpha * (epoch + 1) / static_cast<double>(epochs));
}

void Distiller::finish_epoch(nn::Trainer& trainer) const {
  if (options_.kind != DistillOptions::Kind::teacher) return;
  for (const auto* specs : {&trainer.parameters(), &trainer.states()}) {
    for (const auto& p : *specs) {
      trainer.state().set(cat(kTeacher, ".", p.name), trainer.state().get(p.name).clone());
    }
  }
}

}  // namespace tessera::quant
