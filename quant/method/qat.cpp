#include "quant/method/qat.h"

#include <map>

#include "quant/method/qat/rule.h"

namespace tessera::quant {

namespace {

constexpr std::pair<const char*, QatKind> kNames[] = {
    {"ste", QatKind::ste}, {"twn", QatKind::twn},   {"ttq", QatKind::ttq},
    {"lsq", QatKind::lsq}, {"ewgs", QatKind::ewgs}, {"dkm", QatKind::dkm}};

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

QatKind parse_qat(const std::string& text) {
  for (const auto& [name, kind] : kNames) {
    if (text == name) return kind;
  }
  fail("quantization-aware training '", text,
       "' is unknown; there are ste, twn, ttq, lsq, ewgs and dkm");
}

const char* name(QatKind kind) {
  for (const auto& [name, known] : kNames) {
    if (kind == known) return name;
  }
  return "?";
}

Qat::Qat(const QatOptions& options)
    : TrainedMethod(options.schedule), kind_(options.kind), rule_(make_rule(options)) {}

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
  store_codebooks(trainer.state(), fit_weights(trainer.state(), codebooks(trainer), ignored));
}

Codebooks Qat::snap(const nn::Trainer& trainer) const {
  Codebooks out;
  for (const auto& item : plan().tensors) {
    if (item.choice) out.emplace(item.name, rule_->snap(item, trainer.state()));
  }
  return out;
}

}  // namespace tessera::quant
