#include "quant/qat_transforms.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "ops/build.h"
#include "ops/codebook/nearest.h"
#include "ops/codebook/soft_assign.h"

namespace tessera::quant {

namespace {

// `value` in the forward pass, the gradient of `through` in the backward.
Value straight_through(Value value, Value through) {
  return through + ops::detach(value - through);
}

class Transform : public nn::WeightTransform {
 public:
  Transform(const QatOptions& options, const CompressionPlan& plan) : options_(options) {
    for (const auto& item : plan.tensors) {
      if (item.choice) choices_.emplace(item.name, *item.choice);
    }
  }
  Value apply(nn::Scope& scope, const std::string& name, Value w) const final {
    const auto at = choices_.find(name);
    return at == choices_.end() ? w : quantize(scope, name, w, at->second);
  }

 protected:
  virtual Value quantize(nn::Scope& scope, const std::string& name, Value w,
                         const TensorChoice& choice) const = 0;
  const QatOptions& options() const { return options_; }

 private:
  QatOptions options_;
  std::map<std::string, TensorChoice> choices_;
};

class Ste final : public Transform {
 public:
  using Transform::Transform;

 protected:
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice& choice) const override {
    const Value entries = scope.graph().state(name + kQatEntries, entries_type(w.shape(), choice));
    return straight_through(ops::nearest(w, entries, choice.group_rows).entry, w);
  }
};

class Twn final : public Transform {
 public:
  using Transform::Transform;

 protected:
  Value quantize(nn::Scope&, const std::string&, Value w, const TensorChoice&) const override {
    const Value size = ops::abs(w);
    const Value kept = ops::greater(size, 0.7 * ops::mean(size));
    const Value scale = ops::sum(size * kept) / ops::maximum(ops::sum(kept), 1.0);
    return straight_through(ops::detach(scale) * ops::sign(w) * kept, w);
  }
};

class Ttq final : public Transform {
 public:
  using Transform::Transform;

 protected:
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice&) const override {
    const Value trained = scope.global_param(name + kQatLevels, {2}, nn::Init::constant(1));
    // Their gradients are sums over all weights, and a level keeps its sign.
    const double share = 1 / std::sqrt(static_cast<double>(w.shape().numel()));
    const Value levels = ops::maximum(straight_through(trained, trained * share), 0.0);
    const Value n = ops::reshape(ops::slice(levels, 0, 0, 1), {}),
                p = ops::reshape(ops::slice(levels, 0, 1, 2), {});
    const Value threshold = 0.05 * ops::max(ops::abs(ops::detach(w)));
    const Value above = ops::greater(w, threshold), below = ops::greater(-w, threshold);
    const Value value = p * above - n * below;
    // The levels' gradients are those of `value`; the weight's is scaled by its level's size.
    const Value scale = ops::detach(ops::where(above, p, ops::where(below, n, 1.0)));
    return value + scale * (w - ops::detach(w));
  }
};

class Lsq final : public Transform {
 public:
  using Transform::Transform;

 protected:
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice& choice) const override {
    const int bits = choice.spec.bits();
    const UniformLevels levels = uniform_levels(bits);
    const Value step = scope.global_param(name + kQatStep, {}, nn::Init::constant(1));
    const double share = 1 / std::sqrt(static_cast<double>(w.shape().numel()) * levels.positive);
    const Value s = straight_through(step, step * share);
    const Value clipped = ops::clamp(w / s, -levels.negative, levels.positive);
    const Value rounded =
        bits == 1 ? 2.0 * ops::greater_equal(clipped, 0.0) - 1.0 : ops::round(clipped);
    return s * straight_through(rounded, clipped);
  }
};

class Ewgs final : public Transform {
 public:
  using Transform::Transform;

 protected:
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice& choice) const override {
    const double last = (1 << choice.spec.bits()) - 1;
    const double share = 1 / std::sqrt(static_cast<double>(w.shape().numel()) * last);
    const auto trained = [&](const char* suffix, const Shape& shape) {
      const Value own = scope.global_param(name + suffix, shape, nn::Init::constant(1));
      return straight_through(own, own * share);
    };
    const Value interval = trained(kQatInterval, {2}), scale = trained(kQatScale, {});
    const Value low = ops::reshape(ops::slice(interval, 0, 0, 1), {}),
                high = ops::reshape(ops::slice(interval, 0, 1, 2), {});
    const Value x = ops::clamp((w - low) / ops::maximum(high - low, kEwgsWidth), 0.0, 1.0);
    const Value q = ops::round(x * last) / last;
    const Value through = ops::scale_gradient(x, ops::detach(options().ewgs_delta * (x - q)));
    return scale * (2.0 * straight_through(q, through) - 1.0);
  }
};

class Dkm final : public Transform {
 public:
  using Transform::Transform;

 protected:
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice& choice) const override {
    Graph& graph = scope.graph();
    const int k = choice.spec.size(), d = choice.spec.vector_len();
    const Shape shape = d == 1 ? Shape{k} : Shape{k, d};
    const Value start = graph.state(name + kQatCentroids, {DType::f32, shape, {}});
    const Value width = graph.state(name + kQatWidth, f32({}));
    const Value tau = graph.input("dkm.temperature", f32({})) * ops::square(width);
    Value c = start;
    for (int i = 0; i < options().dkm_iterations; ++i) {
      const auto soft = ops::soft_assign(w, c, tau);
      const Value mass = d == 1 ? soft.mass : ops::reshape(soft.mass, {k, 1});
      // A centroid without weights stays where it was.
      const Value empty = ops::greater(1e-6, mass);
      c = ops::where(empty, c, soft.moment / ops::maximum(mass, 1e-6));
    }
    scope.update(start, ops::detach(c));  // the next batch starts here
    return ops::soft_assign(w, c, tau).mean;
  }
};

template <class T>
std::unique_ptr<nn::WeightTransform> make(const QatOptions& options, const CompressionPlan& plan) {
  return std::make_unique<T>(options, plan);
}

}  // namespace

UniformLevels uniform_levels(int bits) {
  return bits == 1 ? UniformLevels{1, 1} : UniformLevels{1 << (bits - 1), (1 << (bits - 1)) - 1};
}

std::unique_ptr<nn::WeightTransform> make_transform(const QatOptions& options,
                                                    const CompressionPlan& plan) {
  switch (options.kind) {
    case QatKind::ste:
      return make<Ste>(options, plan);
    case QatKind::twn:
      return make<Twn>(options, plan);
    case QatKind::ttq:
      return make<Ttq>(options, plan);
    case QatKind::lsq:
      return make<Lsq>(options, plan);
    case QatKind::ewgs:
      return make<Ewgs>(options, plan);
    case QatKind::dkm:
      return make<Dkm>(options, plan);
  }
  return nullptr;
}

}  // namespace tessera::quant
