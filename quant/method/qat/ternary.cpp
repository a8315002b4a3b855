// TWN and TTQ: {-n, 0, p} by a threshold on |w|, which is not the nearest-entry rule; 3 levels at 2
// bits.
//   twn  {-a, 0, a}: 0 where |w| <= 0.7 mean |w|, a the mean of the other |w| (Li et al. 2016)
//   ttq  0 where |w| <= 0.05 max |w|, n and p trained (their gradients, sums over all weights,
//   times
//        1 / sqrt(N) as in LSQ; never negative); the weight's gradient is scaled by n, 1, p (Zhu et
//        al., ICLR 2017)
#include <algorithm>
#include <cmath>

#include "ops/build.h"
#include "quant/method/qat/rule.h"

namespace tessera::quant {
namespace {

constexpr double kTwnThreshold = 0.7;           // of the mean size
constexpr double kTtqThreshold = 0.05;          // of the largest
constexpr const char* kLevels = ".ttq_levels";  // parameter, [2]: n, p

class Ternary : public QatRule {
 public:
  std::string refuses(const TensorChoice& choice) const override {
    if (std::string why = QatRule::refuses(choice); !why.empty()) return why;
    if (choice.spec.bits() == 2) return "";
    return cat("must have 2 bits, which three levels take, not ", choice.spec.bits());
  }

 protected:
  static CodebookTensor codebook(const TensorPlan& item, std::span<const float> w, double threshold,
                                 double n, double p) {
    std::vector<std::uint8_t> indices(w.size());
    for (std::size_t i = 0; i < w.size(); ++i)
      indices[i] = w[i] > threshold ? 2 : -w[i] > threshold ? 0 : 1;
    return make_codebook(item, w, {static_cast<float>(-n), 0, static_cast<float>(p)},
                         std::move(indices));
  }
};

// The mean of the sizes above the threshold.
double twn_level(std::span<const float> w, double threshold) {
  double sum = 0, count = 0;
  for (const float v : w) {
    if (std::fabs(v) > threshold) sum += std::fabs(v), ++count;
  }
  return sum / std::max(count, 1.0);
}

class Twn final : public Ternary {
 public:
  Value quantize(nn::Scope&, const std::string&, Value w, const TensorChoice&) const override {
    const Value size = ops::abs(w);
    const Value kept = ops::greater(size, kTwnThreshold * ops::mean(size));
    const Value scale = ops::sum(size * kept) / ops::maximum(ops::sum(kept), 1.0);
    return straight_through(ops::detach(scale) * ops::sign(w) * kept, w);
  }
  CodebookTensor snap(const TensorPlan& item, const State& state) const override {
    const auto w = state.get(item.name).span<float>();
    const double threshold = kTwnThreshold * mean_size(w), level = twn_level(w, threshold);
    return codebook(item, w, threshold, level, level);
  }
};

class Ttq final : public Ternary {
 public:
  void start(State& state, const std::string& name, const TensorChoice&,
             const CodebookTensor&) const override {
    const auto w = std::as_const(state).get(name).span<float>();
    const auto level = static_cast<float>(twn_level(w, kTwnThreshold * mean_size(w)));
    state.set(name + kLevels, numbers({level, level}));
  }
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice&) const override {
    // A level keeps its sign.
    const Value levels =
        ops::maximum(shared_parameter(scope, name + kLevels, {2}, root_share(w.shape())), 0.0);
    const Value n = ops::reshape(ops::slice(levels, 0, 0, 1), {}),
                p = ops::reshape(ops::slice(levels, 0, 1, 2), {});
    const Value threshold = kTtqThreshold * ops::max(ops::abs(ops::detach(w)));
    const Value above = ops::greater(w, threshold), below = ops::greater(-w, threshold);
    const Value value = p * above - n * below;
    // The levels' gradients are those of `value`; the weight's is scaled by its level's size.
    const Value scale = ops::detach(ops::where(above, p, ops::where(below, n, 1.0)));
    return value + scale * (w - ops::detach(w));
  }
  CodebookTensor snap(const TensorPlan& item, const State& state) const override {
    const auto w = state.get(item.name).span<float>();
    float most = 0;
    for (const float v : w) most = std::max(most, std::fabs(v));
    const auto levels = state.get(item.name + kLevels).to_vector<float>();
    return codebook(item, w, kTtqThreshold * most, std::max(levels[0], 0.0f),
                    std::max(levels[1], 0.0f));
  }
};

}  // namespace

std::unique_ptr<const QatRule> make_twn() {
  return std::make_unique<Twn>();
}

std::unique_ptr<const QatRule> make_ttq() {
  return std::make_unique<Ttq>();
}

MethodRow twn_row() {
  return qat_row("twn", "ternary weights by a threshold (2 bits)", {},
                 [](const Settings&) { return make_twn(); });
}

MethodRow ttq_row() {
  return qat_row("ttq", "trained ternary quantization (2 bits)", {},
                 [](const Settings&) { return make_ttq(); });
}

}  // namespace tessera::quant
