// What methods that train with one schedule have in common: they start at the reference, pull or
// quantize the weights on the way, and snap to their codebooks after every epoch to see how far
// they are. The last snap is the result.
#pragma once

#include "quant/method/method_list.h"

namespace tessera::quant {

struct TrainingSchedule {
  int epochs = 30;
  double lr = 0.02;
  double lr_final = 0.01;  // share of lr left at the end, by half a cosine; 1: constant
  // In place of the cosine: shares of the epochs behind each of which the rate is multiplied by
  // step_factor.
  std::vector<double> steps = {};
  double step_factor = 0.1;

  double rate(double epoch) const;
};

class TrainedMethod : public Method {
 public:
  std::int64_t epochs() const override { return schedule_.epochs; }
  double learning_rate(double epoch) const override { return schedule_.rate(epoch); }
  // Besides what the method itself asks for: every tensor fitted on its own, and the 2^bits or
  // fewer free entries of an adaptive codebook, unless the method takes others.
  void require(const CompressionPlan& plan) const override;
  void before_epoch(nn::Trainer& trainer, double epoch) final;
  std::optional<CStepReport> after_update(nn::Trainer& trainer, double from, double to) final;

 protected:
  CStepReport start(nn::Trainer& trainer, const BatchSource& data, bool resuming) final;
  virtual bool takes(const CodebookSpec& spec) const {
    return spec.kind() == CodebookSpec::Kind::kAdaptive;
  }
  explicit TrainedMethod(TrainingSchedule schedule) : schedule_(schedule) {}

  // Once, at the reference: states and parameters of the method's own, from its direct compression.
  virtual void prepare(nn::Trainer& /*trainer*/, const Codebooks& /*direct*/) {}
  // Objectives, transform and loss; also when resuming.
  virtual void attach(nn::Trainer& trainer) = 0;
  // Before the first update of an epoch, not where a resume enters one.
  virtual void start_epoch(nn::Trainer& /*trainer*/, std::int64_t /*epoch*/) {}
  // Scalars of this epoch (`progress` in [0, 1)).
  virtual void set_scalars(nn::Trainer& /*trainer*/, double /*progress*/) {}
  // After every epoch before the snap: what a method keeps between epochs.
  virtual void finish_epoch(nn::Trainer& /*trainer*/, std::int64_t /*epoch*/) {}
  // The codebooks at the weights as they are now.
  virtual Codebooks snap(const nn::Trainer& trainer) const = 0;

  // 1-D k-means (or the plan's other fit) of the weights as they are, every group with as many
  // entries as its specification says: the last one is repeated where fewer differ.
  Codebooks fit_weights(const nn::Trainer& trainer, const Codebooks& previous,
                        CStepReport& report) const;

  const TrainingSchedule& schedule() const { return schedule_; }
  std::int64_t samples() const { return samples_; }  // of the training data
  double updates() const { return updates_; }        // of the whole training
  // The choice of a planned weight; null for others.
  const TensorChoice* choice(const std::string& name) const;

 private:
  TrainingSchedule schedule_;
  std::int64_t samples_ = 0;
  double updates_ = 0;
};

// A planned weight on the nearest of `entries` (of entries_type, in any order; they are sorted here
// unless they are vectors). Throws Error for entries that are not finite.
CodebookTensor assign(const TensorPlan& item, std::span<const float> w, std::vector<float> entries);
// All planned weights.
Codebooks assign_all(const CompressionPlan& plan, const State& state,
                     const std::function<std::vector<float>(const std::string&)>& entries);

// Half the mean distance of neighbouring entries, over all groups (of vectors, which have one: of
// each to the nearest other one); above 0.
float cell_width(const CodebookTensor& c);

// The type of the entries of a planned weight, [groups, k]; of vectors [groups, k, vector_len].
TensorType entries_type(const Shape& weight, const TensorChoice& choice);

// A row of the list (method_list.h) for a method with one schedule, whose settings "train-epochs",
// "train-lr", ... come before its own.
MethodRow trained_row(const char* name, const char* doc, std::vector<Setting> own,
                      std::function<std::unique_ptr<Method>(const Settings&)> training,
                      std::function<void(const Settings&, Config&)> describe = {});
TrainingSchedule training_schedule(const Settings& settings);

}  // namespace tessera::quant
