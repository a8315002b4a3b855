#include "nn/norm.h"

#include "ops/build.h"
#include "ops/conv/conv.h"

namespace tessera::nn {

BatchNorm2d::BatchNorm2d(std::int64_t channels, BatchNorm2dOptions options)
    : channels_(channels), options_(std::move(options)) {
  check(channels >= 1, "[BatchNorm2d] needs at least one channel, got ", channels);
  check(options_.momentum >= 0 && options_.momentum <= 1,
        "[BatchNorm2d] momentum must be in [0, 1], got ", options_.momentum);
  check(options_.epsilon > 0, "[BatchNorm2d] epsilon must be positive, got ", options_.epsilon);
}

Value BatchNorm2d::forward(Scope& scope, Value x) const {
  check(x.shape().rank() >= 2 && x.shape()[1] == Dim(channels_), "[BatchNorm2d ", scope.path(),
        "] expected x f32[n,", channels_, ",...], got ", x.type().text());
  const Shape shape{channels_};
  if (scope.folding() && &x.node->op() == &kConv2d && &x.node->input(1).node->op() == &kParam) {
    scope.add_folded({x.node->input(1).node->name(), scope.path(), options_.epsilon});
    return x + ops::reshape(scope.param("bias", shape, Init::constant(0)), {1, channels_, 1, 1});
  }
  const Value weight = scope.param("weight", shape, options_.weight_init);
  const Value bias = scope.param("bias", shape, Init::constant(0));
  const Value mean = scope.state("running_mean", shape, Init::constant(0));
  const Value variance = scope.state("running_var", shape, Init::constant(1));
  if (!scope.training()) {
    return ops::batch_norm(x, weight, bias, mean, variance, options_.epsilon);
  }
  const ops::BatchNormResult batch =
      ops::batch_norm_train(x, weight, bias, options_.epsilon, scope.ranks());
  Ints axes;
  for (int i = 0; i < x.shape().rank(); ++i) {
    if (i != 1) axes.push_back(i);
  }
  // n / (n - 1); the deviation of a single value is zero.
  const Value n = ops::count(x, axes) * static_cast<double>(scope.ranks());
  const Value unbiased = batch.variance * (n / ops::maximum(n - 1.0, 1.0));
  const double share = options_.momentum;
  scope.update(mean, mean * (1 - share) + batch.mean * share);
  scope.update(variance, variance * (1 - share) + unbiased * share);
  return batch.y;
}

}  // namespace tessera::nn
