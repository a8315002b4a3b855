// Self-distillation over time: the network's predictions of the epoch before soften its targets.
// Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets" (PS-KD), ICCV
// 2021, as MOCQ uses it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "core/settings.h"
#include "nn/trainer.h"

namespace tessera::quant {

struct DistillOptions {
  enum class Kind {
    none,
    memory,     // the prediction of every sample, bf16: 2 samples x classes bytes
    teacher,    // the network as it was after the epoch before: one more forward pass, any classes
    reference,  // the same with the network as it was at the start, not quantized
  };
  Kind kind = Kind::memory;
  // Weight of the predictions at the end; it grows linearly, (epoch + 1) / epochs. Of the network's
  // own earlier predictions (memory, teacher), which in short trainings are still bad, no faster
  // than in `full_epochs`.
  double alpha = 0.8;
  double full_epochs = 1;

  static const Names<Kind>& kinds();
};

// target = (1 - alpha) one_hot(y) + alpha p;  loss = mean of -sum target log softmax(logits), or
// what a task has in place of labels, softmax and cross-entropy (nn::Task::target). alpha is the
// scalar input "distill.alpha". p is, by kind,
//   memory: row `position of the sample` of the state distill.memory, softmax(logits) of the last
//     time it was seen, written after every step; one_hot(y) where it was not seen yet.
//   teacher, reference: softmax of the same network with the states teacher.NAME as parameters, in
//     inference form.
class SelfDistillation final : public nn::TaskLoss {
 public:
  // With a `task` loss, that stands in place of the labels' part:
  //   loss = (1 - alpha) task + alpha mean of -sum p log softmax(logits)
  SelfDistillation(DistillOptions::Kind kind, std::int64_t samples,
                   std::shared_ptr<const nn::TaskLoss> task = nullptr)
      : kind_(kind), samples_(samples), task_(std::move(task)) {}
  Value loss(nn::StepBuilder& step) const override;

 private:
  DistillOptions::Kind kind_;
  std::int64_t samples_;
  std::shared_ptr<const nn::TaskLoss> task_;
};

// What a method does around it.
class Distiller {
 public:
  explicit Distiller(DistillOptions options) : options_(options) {}
  bool active() const { return options_.kind != DistillOptions::Kind::none; }
  // The memory, empty, or the teacher as the network is now.
  void prepare(nn::Trainer& trainer, std::int64_t samples) const;
  // Around the task loss that the trainer has.
  void attach(nn::Trainer& trainer, std::int64_t samples) const;
  // alpha of an epoch.
  void set_scalars(nn::Trainer& trainer, double progress, std::int64_t epochs) const;
  void finish_epoch(nn::Trainer& trainer) const;  // the teacher follows, the reference does not

 private:
  void copy_network(nn::Trainer& trainer) const;

  DistillOptions options_;
};

// By the settings "distill", "distill-alpha" and "distill-epochs" of the methods' list.
std::vector<Setting> distill_settings();
DistillOptions distill_options(const Settings& settings);

}  // namespace tessera::quant
