#include "quant/method/qar.h"

#include <algorithm>
#include <cmath>

#include "core/values.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/nearest.h"
#include "ops/codebook/soft_assign.h"
#include "ops/matmul/matmul.h"
#include "quant/method/spectral.h"

namespace tessera::quant {

namespace {

constexpr const char* kWidth = ".cell_width";
constexpr const char* kBasis = ".spectral_basis";
constexpr int kBasisEpochs = 5;  // between two bases, as Deep k-Means

// What the bins of the weights weigh: 1 / n_k(i) for every weight i. No gradient.
Value bin_share(Value w, Value index, Value entries, std::int64_t group_rows) {
  Graph& graph = w.graph();
  CodebookFormat format;
  format.bits = 8;
  format.group_rows = group_rows;
  const Value flat = ops::reshape(index, format.indices_shape(w.shape()));
  Attrs attrs = codebook_attrs(format, w.shape());
  attrs.set("entries", entries.shape()[1].value());
  const Value ones = graph.constant(1.0, w.type());
  const Value counts = graph.add(kCodebookEntriesGrad, {ones, flat, Value()}, attrs).output();
  return ops::detach(ops::decode(
      ops::codebook(flat, 1.0 / ops::maximum(counts, 1.0), Value(), format, w.shape())));
}

// W as a matrix of rows minus what the basis F [rows, k] explains: W - F (F' W).
Value unexplained(Value w, Value basis) {
  const Dim rows = w.shape()[0];
  Dim rest = 1;
  for (int i = 1; i < w.shape().rank(); ++i) rest = rest * w.shape()[i];
  const Value matrix = ops::reshape(w, {rows, rest});
  const Value inside = ops::matmul(basis, ops::matmul(ops::transpose(basis), matrix));
  return ops::reshape(matrix - inside, w.shape());
}

}  // namespace

std::optional<nn::WeightTerm> ClusterRegularizer::term(nn::Scope& scope, const std::string& name,
                                                       Value w) const {
  const TensorPlan* item = plan_.find(name);
  if (item == nullptr) return std::nullopt;
  const Value c = representatives(scope, *item);
  const std::int64_t group_rows = item->choice->group_rows;
  nn::WeightTerm out;
  out.own.emplace_back(representative_parameter(scope, *item), Value());
  out.own_scale = entry_scale(w, *item);
  if (family_ == Family::soft) {
    const Value tau = ops::square(scope.graph().state(name + kWidth, f32({}))) * temperature_;
    const auto soft = ops::soft_assign(w, ops::reshape(c, {c.shape()[1]}), tau);
    out.value = -tau / ops::count(w) * soft.log_sum;
    return out;
  }
  const ops::NearestResult cell = ops::nearest(w, c, group_rows);
  const Value apart = w - cell.entry;
  switch (family_) {
    case Family::l1:
      out.value = ops::mean(ops::abs(apart));
      break;
    case Family::bins:
      out.value = ops::sum(ops::square(apart) * bin_share(w, cell.index, c, group_rows));
      break;
    case Family::spectral: {
      const Value basis =
          scope.graph().state(name + kBasis, f32({item->shape[0], Dim(item->choice->spec.size())}));
      const Value rest = unexplained(w, basis), n = ops::count(w);
      out.gradient = rest / n;
      // The representatives follow by l2, which does not pull the weights.
      out.value = 0.5 * ops::sum(ops::square(rest)) / n +
                  ops::mean(ops::square(ops::detach(w) - cell.entry));
      break;
    }
    default:
      out.value = ops::mean(ops::square(apart));
  }
  return out;
}

double QarOptions::end() const {
  constexpr double kClusters = 0.3, kSubspace = 0.02;
  return ramp_end.value_or(family == ClusterRegularizer::Family::spectral ? kSubspace : kClusters);
}

void Qar::prepare(nn::Trainer& trainer, const Codebooks& direct) {
  State& state = trainer.state();
  set_representatives(plan(), state, direct);
  for (const auto& [name, c] : direct) {
    state.set(name + kWidth, Tensor::from(std::vector<float>{cell_width(c)}, Shape{}));
  }
  if (options_.family == ClusterRegularizer::Family::spectral) finish_epoch(trainer, -1);
}

void Qar::attach(nn::Trainer& trainer) {
  nn::Coefficient coefficient;
  coefficient.kind = options_.forward.coefficient;
  trainer.add_objective(std::make_shared<ClusterRegularizer>(options_.family, plan(), coefficient,
                                                             options_.temperature));
  trainer.add_weight_transform(std::make_shared<RepresentativeForward>(plan()));
}

void Qar::require(const CompressionPlan& plan) const {
  TrainedMethod::require(plan);
  options_.forward.require(name());
  if (options_.family != ClusterRegularizer::Family::soft) return;
  for (const auto& item : plan.tensors) {
    check(!item.choice || item.choice->group_rows == 0, "'", item.name,
          "': soft assignment has one codebook for a tensor, not one for ",
          item.choice ? item.choice->group_rows : 0, " rows");
  }
}

double Qar::learning_rate(double epoch) const {
  return TrainedMethod::learning_rate(epoch) * options_.forward.warm_up(epoch, schedule().epochs);
}

void Qar::start_epoch(nn::Trainer& trainer, std::int64_t epoch) {
  options_.forward.start_epoch(trainer, epoch, schedule().epochs);
}

void Qar::set_scalars(nn::Trainer& trainer, double progress) {
  const double share = std::min(1.0, progress / std::max(options_.ramp_until, 1e-9));
  const double end = options_.end();
  const double c = options_.ramp_begin * std::pow(end / options_.ramp_begin, share);
  trainer.set(nn::coefficient_input("qar"), options_.forward.finishing(progress) ? 0 : c);
  options_.forward.set_scalars(trainer, progress, schedule().epochs, updates());
}

void Qar::finish_epoch(nn::Trainer& trainer, std::int64_t epoch) {
  if (options_.family != ClusterRegularizer::Family::spectral) return;
  if (epoch >= 0 && (epoch + 1) % kBasisEpochs != 0) return;
  State& state = trainer.state();
  for (const auto& name : plan().compressed()) {
    state.set(name + kBasis, leading_left_vectors(state.get(name), choice(name)->spec.size()));
  }
}

Codebooks Qar::snap(const nn::Trainer& trainer) const {
  return assign_representatives(plan(), trainer.state());
}

const Names<ClusterRegularizer::Family>& ClusterRegularizer::families() {
  static const Names<Family> all("regularizer", {{"l1", Family::l1},
                                                 {"l2", Family::l2},
                                                 {"soft", Family::soft},
                                                 {"bins", Family::bins},
                                                 {"spectral", Family::spectral}});
  return all;
}

namespace {

QarOptions qar_options(const Settings& s) {
  QarOptions out;
  out.schedule = training_schedule(s);
  out.family = ClusterRegularizer::families().parse(s.text("regularizer"));
  out.forward = forward_stages(s);
  if (const double pull = s.number("qar-pull"); pull > 0) out.ramp_end = pull;
  return out;
}

}  // namespace

MethodRow qar_row() {
  std::vector<Setting> own = {
      Setting::choice("regularizer", QarOptions().family,
                      "QAR: what pulls weights to their representatives", "qar.regularizer",
                      ClusterRegularizer::families()),
      Setting::number("qar-pull", 0, "QAR: as --mocq-pull; 0: 0.3, or 0.02 for spectral", "", 0,
                      1e6)};
  for (Setting& setting : forward_settings()) own.push_back(std::move(setting));
  MethodRow out = trained_row(
      "qar", "clustering regularizers with trained representatives", std::move(own),
      [](const Settings& s) { return std::make_unique<Qar>(qar_options(s)); },
      [](const Settings& s, Config& config) {
        const QarOptions o = qar_options(s);
        config["qar.pull"] = exact(o.ramp_begin) + " to " + exact(o.end());
        config["qar.ramp_until"] = exact(o.ramp_until);
        if (o.family == ClusterRegularizer::Family::soft)
          config["qar.temperature"] = exact(o.temperature);
        describe_forward(s, config);
      });
  out.also(validate_forward);
  return out;
}

}  // namespace tessera::quant
