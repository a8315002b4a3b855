#include "quant/method/qat.h"

#include <map>

#include "quant/method/qat/rule.h"

namespace tessera::quant {

namespace {

class Transform final : public nn::WeightTransform {
 public:
  Transform(std::shared_ptr<const QatRule> rule, const CompressionPlan& plan)
      : rule_(std::move(rule)) {
    for (const auto& item : plan.tensors) {
      if (item.choice) choices_.emplace(item.name, *item.choice);
    }
  }
  Value apply(nn::Scope& scope, const std::string& name, Value w) const override {
    const auto at = choices_.find(name);
    return at == choices_.end() ? w : rule_->quantize(scope, name, w, at->second);
  }

 private:
  std::shared_ptr<const QatRule> rule_;
  std::map<std::string, TensorChoice> choices_;
};

}  // namespace

Qat::Qat(std::string name, const TrainingSchedule& schedule, std::shared_ptr<const QatRule> rule)
    : TrainedMethod(schedule), name_(std::move(name)), rule_(std::move(rule)) {}

MethodRow qat_row(const char* name, const char* doc, std::vector<Setting> own,
                  std::function<std::shared_ptr<const QatRule>(const Settings&)> rule,
                  std::function<void(const Settings&, Config&)> describe) {
  return trained_row(
      name, doc, std::move(own),
      [name, rule = std::move(rule)](const Settings& s) {
        return std::make_unique<Qat>(name, training_schedule(s), rule(s));
      },
      std::move(describe));
}

bool Qat::takes(const CodebookSpec& spec) const {
  return rule_->takes(spec);
}

void Qat::require(const CompressionPlan& plan) const {
  TrainedMethod::require(plan);
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    const std::string why = rule_->refuses(*item.choice);
    check(why.empty(), name(), ": '", item.name, "' ", why);
  }
}

void Qat::prepare(nn::Trainer& trainer, const Codebooks& direct) {
  for (const auto& [weight, c] : direct) rule_->start(trainer.state(), weight, *choice(weight), c);
}

void Qat::attach(nn::Trainer& trainer) {
  trainer.add_weight_transform(std::make_shared<Transform>(rule_, plan()));
}

void Qat::set_scalars(nn::Trainer& trainer, double progress) {
  rule_->set_scalars(trainer, progress);
}

void Qat::finish_epoch(nn::Trainer& trainer, std::int64_t) {
  if (!rule_->refits()) return;
  CStepReport ignored;
  store_codebooks(trainer.state(), fit_weights(trainer, codebooks(trainer), ignored));
}

Codebooks Qat::snap(const nn::Trainer& trainer) const {
  Codebooks out;
  for (const auto& item : plan().tensors) {
    if (item.choice) out.emplace(item.name, rule_->snap(item, trainer.state()));
  }
  return out;
}

}  // namespace tessera::quant
