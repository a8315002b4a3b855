// EWGS: s (2 q - 1), q = round(L x) / L, x = clip((w - l) / (u - l), 0, 1), L = 2^bits - 1: the
// interval [l, u], from 3 standard deviations, and the scale s are trained as LSQ's step; the
// gradient g of q is g (1 + d sign(g) (x - q)) for x (Lee, Kim & Ham, CVPR 2021).
#include <algorithm>
#include <cmath>

#include "ops/build.h"
#include "quant/method/qat/rule.h"

namespace tessera::quant {
namespace {

constexpr const char* kInterval = ".ewgs_interval";  // parameter, [2]: l, u
constexpr const char* kScale = ".ewgs_scale";        // parameter, scalar
constexpr float kLeastWidth = 1e-6f;                 // of the interval
constexpr double kDeviations = 3;                    // to either side, at the start

// q in steps of 1 / last.
std::uint8_t index_of(float w, float low, float high, float last) {
  const float x = std::clamp((w - low) / std::max(high - low, kLeastWidth), 0.0f, 1.0f);
  return static_cast<std::uint8_t>(std::nearbyint(x * last));
}

int last_level(const TensorChoice& choice) {
  return (1 << choice.spec.bits()) - 1;
}

class Ewgs final : public QatRule {
 public:
  explicit Ewgs(double delta) : delta_(delta) {}
  bool takes(const CodebookSpec& spec) const override {
    return QatRule::takes(spec) && spec.size() == 1 << spec.bits();
  }
  void start(State& state, const std::string& name, const TensorChoice& choice,
             const CodebookTensor&) const override {
    const auto w = std::as_const(state).get(name).span<float>();
    double sum = 0, squares = 0;
    for (const float v : w) sum += v, squares += static_cast<double>(v) * v;
    const double n = static_cast<double>(w.size()), mean = sum / n;
    const double reach = kDeviations * std::sqrt(std::max(squares / n - mean * mean, 0.0));
    const auto low = static_cast<float>(-reach), high = static_cast<float>(reach);
    const auto last = static_cast<float>(last_level(choice));
    double qw = 0, qq = 0;  // least squares of w by s (2 q - 1)
    for (const float v : w) {
      const double level = 2.0 * index_of(v, low, high, last) / last - 1;
      qw += level * v, qq += level * level;
    }
    state.set(name + kInterval, numbers({low, high}));
    state.set(name + kScale, numbers({static_cast<float>(qw / std::max(qq, 1e-12))}));
  }
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice& choice) const override {
    const double last = last_level(choice), share = root_share(w.shape(), last);
    const Value interval = shared_parameter(scope, name + kInterval, {2}, share),
                scale = shared_parameter(scope, name + kScale, {}, share);
    const Value low = ops::reshape(ops::slice(interval, 0, 0, 1), {}),
                high = ops::reshape(ops::slice(interval, 0, 1, 2), {});
    const Value x = ops::clamp((w - low) / ops::maximum(high - low, kLeastWidth), 0.0, 1.0);
    const Value q = ops::round(x * last) / last;
    const Value through = ops::scale_gradient(x, ops::detach(delta_ * (x - q)));
    return scale * (2.0 * straight_through(q, through) - 1.0);
  }
  CodebookTensor snap(const TensorPlan& item, const State& state) const override {
    const auto ends = state.get(item.name + kInterval).to_vector<float>();
    const float scale = state.get(item.name + kScale).item();
    for (const float v : {ends[0], ends[1], scale}) {
      check(std::isfinite(v), "'", item.name, "': an end of the interval or its scale became ", v,
            "; a smaller learning rate may help");
    }
    const int last = last_level(*item.choice);
    std::vector<float> entries;
    for (int j = 0; j <= last; ++j) {
      const float q = static_cast<float>(j) / static_cast<float>(last);
      entries.push_back(scale * (2 * q - 1));
    }
    const auto w = state.get(item.name).span<float>();
    std::vector<std::uint8_t> indices(w.size());
    for (std::size_t i = 0; i < w.size(); ++i)
      indices[i] = index_of(w[i], ends[0], ends[1], static_cast<float>(last));
    return make_codebook(item, w, std::move(entries), std::move(indices));
  }

 private:
  double delta_;
};

}  // namespace

std::unique_ptr<const QatRule> make_ewgs(double delta) {
  return std::make_unique<Ewgs>(delta);
}

MethodRow ewgs_row() {
  // Their fixed one; they also take it from the Hessian's trace.
  constexpr double kDelta = 1e-3;
  return qat_row(
      "ewgs", "element-wise gradient scaling",
      {Setting::number("ewgs-delta", kDelta, "EWGS: d in the gradient g (1 + d sign(g) (x - q))",
                       "ewgs.delta", 0, 10)},
      [](const Settings& s) { return make_ewgs(s.number("ewgs-delta")); });
}

}  // namespace tessera::quant
