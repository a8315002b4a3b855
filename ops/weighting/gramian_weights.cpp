// gramian_weights(gramian f32[k, k], preference f32[k], order f32[k, k]) {how, c} -> f32[k], in
// f64.
#include "ops/weighting/gramian_weights.h"

#include <algorithm>
#include <cmath>

#include "ops/op_common.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

std::vector<TensorType> infer(const InferArgs& args) {
  for (int i = 0; i < (args.has(2) ? 3 : 2); ++i) args.require_dtype(i, DType::f32);
  const Shape& preference = args.shape(1);
  args.require(preference.rank() == 1 && !preference.is_symbolic() && preference[0].value() >= 1 &&
                   preference[0].value() <= kMostLosses,
               "expected preferences f32[k] of 1 to ", kMostLosses, " losses, got ", args.in(1));
  const Shape square = {preference[0], preference[0]};
  args.require(args.shape(0) == square, "expected a gramian f32", square, ", got ", args.in(0));
  const GramianRule how = gramian_rules().parse(args.attrs.string("how"));
  args.require(args.has(2) == (how == GramianRule::pcgrad),
               "an order is what pcgrad asks for, and no other");
  args.require(!args.has(2) || args.shape(2) == square, "expected an order f32", square, ", got ",
               args.in(2));
  const double c = args.attrs.real("c");
  args.require(c >= 0 && c < 1, "c must be at least 0 and below 1, got ", c);
  return {{DType::f32, preference, {}}};
}

struct Problem {
  std::size_t k;
  GramianRule how;
  bool ordered;
  double c;

  explicit Problem(const Node& node)
      : k(static_cast<std::size_t>(node.types()[0].shape[0].value())),
        how(gramian_rules().parse(node.attrs().string("how"))),
        ordered(how == GramianRule::pcgrad),
        c(node.attrs().real("c")) {}

  // Reads get(operand, place).
  template <class Get>
  LossVector weights(const Get& get) const {
    LossMatrix gramian, order;
    LossVector preference = {};
    gramian.k = order.k = static_cast<int>(k);
    for (std::size_t i = 0; i < k * k; ++i) {
      gramian.v[i] = get(0, i);
      if (ordered) order.v[i] = get(2, i);
    }
    for (std::size_t i = 0; i < k; ++i) preference[i] = get(1, i);
    return loss_weights(how, gramian, preference, order, c);
  }
};

void ref(const RefArgs& args) {
  const LossVector out =
      Problem(args.node).weights([&](int operand, std::size_t i) { return args.in(operand).v[i]; });
  std::copy_n(out.begin(), args.out().v.size(), args.out().v.begin());
}

double work(const Node& node) {
  const auto k = static_cast<double>(node.types()[0].shape[0].value());
  return std::exp2(k) * k * k * k;
}

std::optional<Sample> sample(Rng& rng, int index) {
  constexpr int kSizes[] = {1, 2, 3, 5, kMostLosses};
  const std::vector<std::string> names = gramian_rules().words();
  if (index >= static_cast<int>(std::size(kSizes) * names.size())) return std::nullopt;
  const std::int64_t k = kSizes[static_cast<std::size_t>(index) / names.size()];
  const std::string& how = names[static_cast<std::size_t>(index) % names.size()];
  // Of k random gradients in more dimensions than that.
  const std::int64_t dimensions = k + 3;
  std::vector<double> gradients;
  for (std::int64_t i = 0; i < k * dimensions; ++i) gradients.push_back(rng.uniform(-1, 1));
  const TensorType square = f32({k, k});
  SampleInput gramian{square};
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < k; ++j) {
      double sum = 0;
      for (std::int64_t d = 0; d < dimensions; ++d)
        sum += gradients[static_cast<std::size_t>(i * dimensions + d)] *
               gradients[static_cast<std::size_t>(j * dimensions + d)];
      gramian.values.push_back(sum);
    }
  }
  Sample out{{gramian, {f32({k}), 0.5, 2}}, {{"how", how}}};
  if (how == gramian_rules().name(GramianRule::pcgrad)) {
    SampleInput order{square};  // apart, so that rounding exchanges none
    for (std::int64_t i = 0; i < k * k; ++i)
      order.values.push_back(static_cast<double>((i * 7) % (k * k + 1)));
    out.inputs.push_back(order);
  }
  return out;
}

std::string refuses_none(const KernelQuery&) {
  return {};
}

KernelPlan prepare(const KernelQuery& query) {
  KernelPlan plan;
  plan.run = [problem = Problem(query.node)](const KernelArgs& args) {
    const LossVector out = problem.weights([&](int operand, std::size_t i) -> double {
      return args.in(operand).as<const float>()[i];
    });
    for (std::size_t i = 0; i < problem.k; ++i)
      args.out().as<float>()[i] = static_cast<float>(out[i]);
  };
  return plan;
}

constexpr KernelRow kRows[] = {{"gramian_weights", kScalar, refuses_none, prepare}, kRefRow};

}  // namespace

const OpDef kGramianWeights{
    .name = "gramian_weights",
    .doc = "weights of losses by the inner products of their gradients",
    .inputs = {{.name = "gramian", .differentiable = false},
               {.name = "preference", .differentiable = false},
               {.name = "order", .differentiable = false, .optional = true}},
    .attrs = {{"how", AttrKind::string, {}}, {"c", AttrKind::real, 0.5}},
    .infer = infer,
    .ref = ref,
    .work = work,
    .sample = sample,
    .rows = kRows};

namespace ops {

Value gramian_weights(Value gramian, Value preference, GramianRule how, Value order, double c) {
  std::vector<Value> inputs = {gramian, preference};
  if (order) inputs.push_back(order);
  return make_node(kGramianWeights, std::move(inputs),
                   {{"how", gramian_rules().name(how)}, {"c", c}});
}

}  // namespace ops
}  // namespace tessera
