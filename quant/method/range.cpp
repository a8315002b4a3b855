#include "quant/method/range.h"

#include <algorithm>
#include <cmath>

#include "ops/build.h"

namespace tessera::quant {

namespace {

constexpr const char* kMargin = ".r2_margin";
constexpr const char* kLogAlpha = ".r2_log_alpha";

// Ties share the pull: each of them gets sign(w), as the subgradient of a maximum over equal values
// allows up to their number, which is 1 in practice.
nn::WeightTerm linf(Value w) {
  const Value size = ops::abs(w), most = ops::max(size);
  return {most, ops::where(ops::greater_equal(size, most), ops::sign(w), 0.0)};
}

nn::WeightTerm margin(nn::Scope& scope, const std::string& name, Value w) {
  const Value m = scope.global_param(name + kMargin, {}, nn::Init::constant(1));
  const Value size = ops::abs(w), bound = ops::abs(m);
  const Value outside = ops::greater(size, bound);
  nn::WeightTerm out{bound + ops::sum(ops::maximum(size - bound, 0.0)), ops::sign(w) * outside};
  out.own.emplace_back(m, ops::sign(m) * (1.0 - ops::sum(outside)));
  return out;
}

// One side: the mean of w under softmax(a w), and what its gradients are made of.
struct SoftMaximum {
  Value value, share, variance;
};
SoftMaximum soft_maximum(Value w, Value a, Value extreme) {
  const Value e = ops::exp(a * (w - extreme));
  const Value share = e / ops::sum(e), value = ops::sum(share * w);
  return {value, share, ops::sum(share * ops::square(w - value))};
}

nn::WeightTerm softminmax(nn::Scope& scope, const std::string& name, Value w) {
  const Value log_alpha = scope.global_param(name + kLogAlpha, {}, nn::Init::constant(0));
  const Value alpha = ops::exp(log_alpha);
  const SoftMaximum top = soft_maximum(w, alpha, ops::max(w));
  const SoftMaximum bottom = soft_maximum(w, -alpha, -ops::max(-w));
  const Value decay = ops::exp(-alpha);
  nn::WeightTerm out{top.value - bottom.value + decay,
                     top.share * (1.0 + alpha * (w - top.value)) -
                         bottom.share * (1.0 - alpha * (w - bottom.value))};
  out.own.emplace_back(log_alpha, alpha * (top.variance + bottom.variance - decay));
  return out;
}

}  // namespace

const Names<RangeRestriction::Kind>& RangeRestriction::kinds() {
  static const Names<Kind> all(
      "range restriction",
      {{"linf", Kind::linf}, {"margin", Kind::margin}, {"softminmax", Kind::softminmax}});
  return all;
}

bool RangeRestriction::touches(const std::string& name, const Shape& shape) const {
  return shape.rank() >= 2 && (!touches_ || touches_(name));
}

void RangeRestriction::start(State& state, const std::vector<nn::ParameterSpec>& weights) const {
  if (kind_ == Kind::linf) return;
  const bool margin = kind_ == Kind::margin;
  for (const auto& p : weights) {
    const std::string own = p.name + (margin ? kMargin : kLogAlpha);
    if (!touches(p.name, p.type.shape) || state.has(own)) continue;
    float most = 0;
    for (const float w : std::as_const(state).get(p.name).span<float>())
      most = std::max(most, std::fabs(w));
    const float start = margin ? most : std::log(10 / std::max(most, 1e-6f));
    state.set(own, Tensor::from(std::vector<float>{start}, Shape{}));
  }
}

std::optional<nn::WeightTerm> RangeRestriction::term(nn::Scope& scope, const std::string& name,
                                                     Value weight) const {
  if (!touches(name, weight.shape())) return std::nullopt;
  switch (kind_) {
    case Kind::linf:
      return linf(weight);
    case Kind::margin:
      return margin(scope, name, weight);
    case Kind::softminmax:
      return softminmax(scope, name, weight);
  }
  return std::nullopt;
}

}  // namespace tessera::quant
