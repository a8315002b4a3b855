#include "quant/method/mocq_authors.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/build.h"

namespace tessera::quant {

AuthorsPeriodicError::AuthorsPeriodicError(std::vector<std::string> names, int bits,
                                           nn::Coefficient coefficient)
    : names_(std::move(names)), bits_(bits), coefficient_(coefficient) {}

std::vector<float> AuthorsPeriodicError::entries(int bits) {
  std::vector<float> out;
  const int half = 1 << (bits - 1);
  for (int k = -half; k < half; ++k) out.push_back(static_cast<float>(k * step(bits)));
  return out;
}

std::optional<nn::WeightTerm> AuthorsPeriodicError::term(nn::Scope&, const std::string& name,
                                                         Value w) const {
  if (std::find(names_.begin(), names_.end(), name) == names_.end()) return std::nullopt;
  const double s = step(bits_), bound = 0.1 + s / 2 - 0.01, rate = std::numbers::pi / s;
  const Value angle = ops::clamp(w, -bound, bound) * rate, cosine = ops::cos(angle);
  return nn::WeightTerm{ops::sum(-ops::log(ops::abs(cosine))), ops::sin(angle) / cosine * rate};
}

double MocqAuthors::coefficient(double progress) {
  // Epochs of their 350, in which stages are 50 long.
  const int stage = static_cast<int>(std::floor(progress * 7 + 1e-9));
  return stage < 1 || stage > 5 ? 0 : std::pow(10.0, stage - 5);
}

double MocqAuthors::constant(double progress) {
  return progress * 7 + 1e-9 >= 6 ? 1e-3 : 0;
}

void MocqAuthors::require(const CompressionPlan& plan) const {
  TrainedMethod::require(plan);
  const TensorPlan* first = nullptr;
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    if (first == nullptr) first = &item;
    check(item.choice->group_rows == 0, name(), ": '", item.name,
          "' must have one codebook for the tensor, not one for ", item.choice->group_rows,
          " rows");
    check(item.choice->spec.bits() == first->choice->spec.bits(), name(),
          " has one step for all tensors: '", item.name, "' is to have ", item.choice->spec.bits(),
          " bits, but '", first->name, "' ", first->choice->spec.bits());
  }
}

void MocqAuthors::prepare(nn::Trainer& trainer, const Codebooks&) {
  Distiller(options_.distill).prepare(trainer, samples());
}

void MocqAuthors::attach(nn::Trainer& trainer) {
  Distiller(options_.distill).attach(trainer, samples());
  nn::Coefficient coefficient;
  coefficient.kind = nn::Coefficient::Kind::dynamic;
  coefficient.average = 0;
  coefficient.lagged = false;
  coefficient.powers_of_ten = coefficient.from_first = true;
  const auto names = plan().compressed();
  trainer.add_objective(std::make_shared<AuthorsPeriodicError>(
      names, choice(names.front())->spec.bits(), coefficient));
}

void MocqAuthors::set_scalars(nn::Trainer& trainer, double progress) {
  trainer.set(nn::coefficient_input("mocq"), coefficient(progress));
  trainer.set(nn::constant_input("mocq"), constant(progress));
  Distiller(options_.distill).set_scalars(trainer, progress, schedule().epochs);
}

void MocqAuthors::finish_epoch(nn::Trainer& trainer, std::int64_t) {
  Distiller(options_.distill).finish_epoch(trainer);
}

Codebooks MocqAuthors::snap(const nn::Trainer& trainer) const {
  return assign_all(plan(), trainer.state(), [&](const std::string& name) {
    return AuthorsPeriodicError::entries(choice(name)->spec.bits());
  });
}

MethodRow mocq_authors_row() {
  return trained_row("mocq-authors",
                     "MOCQ as its authors' code has it, on one grid for all tensors",
                     distill_settings(), [](const Settings& s) {
                       return std::make_unique<MocqAuthors>(
                           MocqAuthorsOptions{training_schedule(s), distill_options(s)});
                     });
}

}  // namespace tessera::quant
