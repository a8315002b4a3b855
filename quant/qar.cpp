#include "quant/qar.h"

#include <algorithm>
#include <cmath>

#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/nearest.h"
#include "ops/codebook/soft_assign.h"
#include "ops/matmul/matmul.h"
#include "quant/spectral.h"

namespace tessera::quant {

namespace {

constexpr const char* kRepresentatives = ".representatives";
constexpr const char* kWidth = ".cell_width";
constexpr const char* kBasis = ".spectral_basis";
constexpr const char* kHard = "qar.hard";
constexpr const char* kLive = "qar.live";
constexpr int kBasisEpochs = 5;  // between two bases, as Deep k-Means

const TensorPlan* planned(const CompressionPlan& plan, const std::string& name) {
  const auto item = std::find_if(plan.tensors.begin(), plan.tensors.end(),
                                 [&](const TensorPlan& t) { return t.name == name; });
  return item == plan.tensors.end() || !item->choice ? nullptr : &*item;
}

Value representatives(nn::Scope& scope, const TensorPlan& item) {
  return scope.global_param(item.name + kRepresentatives,
                            entries_type(item.shape, *item.choice).shape, nn::Init::constant(0));
}

// A representative's gradient is a sum over its weights. With this factor its steps are of the size
// of theirs, as LSQ scales its step's gradient.
double entry_scale(Value w) {
  return 1 / std::sqrt(static_cast<double>(w.shape().numel()));
}

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

ClusterRegularizer::Family ClusterRegularizer::parse(const std::string& text) {
  constexpr std::pair<const char*, Family> kNames[] = {{"l1", Family::l1},
                                                       {"l2", Family::l2},
                                                       {"soft", Family::soft},
                                                       {"bins", Family::bins},
                                                       {"spectral", Family::spectral}};
  for (const auto& [name, family] : kNames) {
    if (text == name) return family;
  }
  fail("regularizer '", text, "' is unknown; there are l1, l2, soft, bins and spectral");
}

std::optional<nn::WeightTerm> ClusterRegularizer::term(nn::Scope& scope, const std::string& name,
                                                       Value w) const {
  const TensorPlan* item = planned(plan_, name);
  if (item == nullptr) return std::nullopt;
  const Value c = representatives(scope, *item);
  const std::int64_t group_rows = item->choice->group_rows;
  nn::WeightTerm out;
  out.own.emplace_back(c, Value());
  out.own_scale = entry_scale(w);
  if (family_ == Family::soft) {
    check(group_rows == 0, "'", name,
          "': soft assignment has one codebook for a tensor, not one for ", group_rows, " rows");
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

Value RepresentativeForward::apply(nn::Scope& scope, const std::string& name, Value w) const {
  const TensorPlan* item = planned(plan_, name);
  if (item == nullptr) return w;
  const Value c = representatives(scope, *item);
  const Value hard = scope.graph().input(kHard, f32({})),
              live = scope.graph().input(kLive, f32({}));
  const Value fixed = ops::detach(w);
  const double s = entry_scale(w);
  const Value steady = s * c + (1 - s) * ops::detach(c);
  const Value entry = ops::nearest(w, steady, item->choice->group_rows).entry;
  return fixed + live * (w - fixed) + hard * (entry - fixed);
}

void Qar::prepare(nn::Trainer& trainer, const Codebooks& direct) {
  State& state = trainer.state();
  for (const auto& [name, c] : direct) {
    state.set(name + kRepresentatives,
              Tensor::from(c.entries, c.format.entries_shape(c.shape, c.k)));
    state.set(name + kWidth, Tensor::from(std::vector<float>{cell_width(c)}, Shape{}));
  }
  if (options_.family == ClusterRegularizer::Family::spectral) finish_epoch(trainer, -1);
}

void Qar::attach(nn::Trainer& trainer) {
  nn::Coefficient coefficient;
  coefficient.kind = nn::Coefficient::Kind::dynamic;
  trainer.add_objective(std::make_shared<ClusterRegularizer>(options_.family, plan(), coefficient,
                                                             options_.temperature));
  trainer.set_weight_transform(std::make_shared<RepresentativeForward>(plan()));
}

void Qar::before_epoch(nn::Trainer& trainer, std::int64_t epoch, bool fresh) {
  // The last stage holds the weights: what they had of momentum goes.
  const auto starts =
      static_cast<std::int64_t>(std::ceil(options_.finish_from * schedule().epochs));
  if (fresh && epoch == starts) trainer.reset_optimizer();
  TrainedMethod::before_epoch(trainer, epoch, fresh);
}

void Qar::set_scalars(nn::Trainer& trainer, double progress) {
  const bool finishing = progress >= options_.finish_from;
  const double share = std::min(1.0, progress / std::max(options_.ramp_until, 1e-9));
  const double c = options_.ramp_begin * std::pow(options_.ramp_end / options_.ramp_begin, share);
  trainer.set(nn::coefficient_input("qar"), finishing ? 0 : c);
  trainer.set(kHard, progress >= options_.hard_from ? 1 : 0);
  trainer.set(kLive, finishing ? 0 : 1);
}

void Qar::finish_epoch(nn::Trainer& trainer, std::int64_t epoch) {
  if (options_.family != ClusterRegularizer::Family::spectral) return;
  if (epoch >= 0 && (epoch + 1) % kBasisEpochs != 0) return;
  State& state = trainer.state();
  for (const auto& name : compressed_names(plan())) {
    state.set(name + kBasis, leading_left_vectors(state.get(name), choice(name)->spec.size()));
  }
}

Codebooks Qar::snap(const nn::Trainer& trainer) const {
  return assign_all(plan(), trainer.state(), [&](const std::string& name) {
    return trainer.state().get(name + kRepresentatives).to_vector<float>();
  });
}

}  // namespace tessera::quant
