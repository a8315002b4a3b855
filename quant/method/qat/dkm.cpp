// DKM: soft k-means in the forward pass, differentiated through its iterations (Cho et al., ICLR
// 2022). tau, a share of the square of half the mean distance of entries, falls geometrically:
// assignments harden while training.
#include <cmath>

#include "ops/build.h"
#include "ops/codebook/soft_assign.h"
#include "quant/method/qat/rule.h"

namespace tessera::quant {
namespace {

constexpr const char* kCentroids = ".dkm_centroids";  // state, [k] or [k, d]
constexpr const char* kWidth = ".cell_width";         // state, scalar
constexpr const char* kTemperature = "dkm.temperature";
constexpr double kEmpty = 1e-6;  // a centroid of less mass has no weights

Shape centroids_shape(std::int64_t k, std::int64_t d) {
  return d == 1 ? Shape{k} : Shape{k, d};
}

class Dkm final : public QatRule {
 public:
  Dkm(int iterations, double begin, double end)
      : iterations_(iterations), begin_(begin), end_(end) {}
  bool takes(const CodebookSpec& spec) const override {
    return QatRule::takes(spec) || spec.kind() == CodebookSpec::Kind::kVector;
  }
  void start(State& state, const std::string& name, const TensorChoice&,
             const CodebookTensor& direct) const override {
    state.set(name + kCentroids,
              Tensor::from(direct.entries, centroids_shape(direct.k, direct.format.vector_len)));
    state.set(name + kWidth, numbers({cell_width(direct)}));
  }
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice& choice) const override {
    Graph& graph = scope.graph();
    const std::int64_t k = choice.spec.size(), d = choice.spec.vector_len();
    const Value start = graph.state(name + kCentroids, {DType::f32, centroids_shape(k, d), {}});
    const Value width = graph.state(name + kWidth, f32({}));
    const Value tau = graph.input(kTemperature, f32({})) * ops::square(width);
    Value c = start;
    for (int i = 0; i < iterations_; ++i) {
      const auto soft = ops::soft_assign(w, c, tau);
      const Value mass = d == 1 ? soft.mass : ops::reshape(soft.mass, {k, 1});
      // A centroid without weights stays where it was.
      const Value empty = ops::greater(kEmpty, mass);
      c = ops::where(empty, c, soft.moment / ops::maximum(mass, kEmpty));
    }
    scope.update(start, ops::detach(c));  // the next batch starts here
    return ops::soft_assign(w, c, tau).mean;
  }
  void set_scalars(nn::Trainer& trainer, double progress) const override {
    trainer.set(kTemperature, begin_ * std::pow(end_ / begin_, progress));
  }
  CodebookTensor snap(const TensorPlan& item, const State& state) const override {
    return assign(item, state.get(item.name).span<float>(),
                  state.get(item.name + kCentroids).to_vector<float>());
  }

 private:
  int iterations_;
  double begin_, end_;
};

}  // namespace

std::unique_ptr<const QatRule> make_dkm(int iterations, double begin, double end) {
  return std::make_unique<Dkm>(iterations, begin, end);
}

MethodRow dkm_row() {
  return qat_row(
      "dkm", "differentiable k-means in the forward pass",
      {Setting::number("dkm-begin", 1,
                       "DKM: temperature at the begin, in squares of half the mean distance of "
                       "entries",
                       "", 1e-6, 1e3),
       Setting::number("dkm-end", 0.05, "DKM: at the end", "", 1e-6, 1e3),
       Setting::whole("dkm-iterations", 3, "DKM: soft k-means steps in a forward pass",
                      "dkm.iterations", 1, 20)},
      [](const Settings& s) {
        return make_dkm(static_cast<int>(s.whole("dkm-iterations")), s.number("dkm-begin"),
                        s.number("dkm-end"));
      },
      [](const Settings& s, Config& config) {
        config["dkm.temperature"] = s.shown("dkm-begin") + " to " + s.shown("dkm-end");
      });
}

}  // namespace tessera::quant
