// LSQ: s round(clip(w / s, -Qn, Qp)), the step s trained with its gradient times 1 / sqrt(N Qp)
// (Esser et al., ICLR 2020); s sign(w) at 1 bit.
#include <cmath>

#include "ops/build.h"
#include "quant/method/qat/rule.h"

namespace tessera::quant {
namespace {

constexpr const char* kStep = ".lsq_step";  // parameter, scalar

// s q for q = -negative .. positive; at 1 bit q = -1, 1.
struct Levels {
  int negative, positive;

  explicit Levels(int bits)
      : negative(bits == 1 ? 1 : 1 << (bits - 1)), positive(bits == 1 ? 1 : negative - 1) {}
};

class Lsq final : public QatRule {
 public:
  bool takes(const CodebookSpec& spec) const override {
    return QatRule::takes(spec) && spec.size() == 1 << spec.bits();
  }
  void start(State& state, const std::string& name, const TensorChoice& choice,
             const CodebookTensor&) const override {
    const double size = mean_size(std::as_const(state).get(name).span<float>());
    const Levels levels(choice.spec.bits());
    const double step = 2 * size / std::sqrt(levels.positive);
    state.set(name + kStep, numbers({static_cast<float>(step)}));
  }
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice& choice) const override {
    const int bits = choice.spec.bits();
    const Levels levels(bits);
    const Value s =
        shared_parameter(scope, name + kStep, {}, root_share(w.shape(), levels.positive));
    const Value clipped = ops::clamp(w / s, -levels.negative, levels.positive);
    const Value rounded =
        bits == 1 ? 2.0 * ops::greater_equal(clipped, 0.0) - 1.0 : ops::round(clipped);
    return s * straight_through(rounded, clipped);
  }
  CodebookTensor snap(const TensorPlan& item, const State& state) const override {
    const int bits = item.choice->spec.bits();
    const Levels levels(bits);
    const float step = state.get(item.name + kStep).item();
    std::vector<float> entries;
    for (int q = -levels.negative; q <= levels.positive; ++q) {
      if (bits > 1 || q != 0) entries.push_back(static_cast<float>(q) * step);
    }
    return assign(item, state.get(item.name).span<float>(), std::move(entries));
  }
};

}  // namespace

std::unique_ptr<const QatRule> make_lsq() {
  return std::make_unique<Lsq>();
}

MethodRow lsq_row() {
  return qat_row("lsq", "learned step size", {}, [](const Settings&) { return make_lsq(); });
}

}  // namespace tessera::quant
