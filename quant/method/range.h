// Range-restriction losses: training without outliers, so that any quantizer has less range to
// cover. Kundu, Yoo, Mishra, Cho & Adya, "R2 Loss: Range Restriction Loss for Model Compression and
// Quantization", arXiv 2303.08253.
#pragma once

#include <functional>
#include <string>

#include "core/named.h"
#include "nn/objective.h"

namespace tessera::quant {

// R = sum over weight tensors of
//   linf         max |w|
//   margin       |M| + sum_i max(|w_i| - |M|, 0), M one trained parameter a tensor
//   softminmax   smax - smin + e^-alpha, smax = sum w e^(alpha w) / sum e^(alpha w), smin with
//                -alpha; ln alpha one trained parameter a tensor
// linf and margin for symmetric quantizers, softminmax for codebooks. The paper weighs R by 0.01.
class RangeRestriction final : public nn::Objective {
 public:
  enum class Kind { linf, margin, softminmax };
  static const Names<Kind>& kinds();

  // `touches`: which weights; null: every parameter of rank 2 or more.
  explicit RangeRestriction(Kind kind, std::function<bool(const std::string&)> touches = nullptr)
      : kind_(kind), touches_(std::move(touches)) {}

  std::string name() const override { return "r2"; }
  std::optional<nn::WeightTerm> term(nn::Scope& scope, const std::string& name,
                                     Value weight) const override;
  // M starts at max |w| and moves slowly: its gradient counts weights. alpha starts at 10 / max
  // |w|, where the soft range is a range of some outliers; from 1 it would never get there. Its
  // logarithm is trained: of alpha itself, about 100, steps of this gradient's size change nothing.
  void start(State& state, const std::vector<nn::ParameterSpec>& weights) const override;
  nn::ParameterGroup own_group() const override { return {kind_ == Kind::margin ? 0.1 : 1, 0.0}; }

 private:
  bool touches(const std::string& name, const Shape& shape) const;

  Kind kind_;
  std::function<bool(const std::string&)> touches_;
};

}  // namespace tessera::quant
