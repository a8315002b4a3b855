#include "quant/method/qat/rule.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/build.h"

namespace tessera::quant {

std::string QatRule::refuses(const TensorChoice& choice) const {
  if (choice.group_rows == 0) return "";
  return cat("must have one codebook for the tensor, not one for ", choice.group_rows, " rows");
}

void QatRule::start(State&, const std::string&, const TensorChoice&, const CodebookTensor&) const {}

Value straight_through(Value value, Value through) {
  return through + ops::detach(value - through);
}

Value shared_parameter(nn::Scope& scope, const std::string& name, const Shape& shape,
                       double share) {
  const Value trained = scope.global_param(name, shape, nn::Init::constant(1));
  return straight_through(trained, trained * share);
}

double root_share(const Shape& weight, double levels) {
  return 1 / std::sqrt(static_cast<double>(weight.numel()) * levels);
}

double mean_size(std::span<const float> w) {
  double sum = 0;
  for (const float v : w) sum += std::fabs(v);
  return sum / static_cast<double>(w.size());
}

Tensor numbers(std::vector<float> values) {
  const auto n = static_cast<std::int64_t>(values.size());
  return Tensor::from(std::move(values), n == 1 ? Shape{} : Shape{n});
}

CodebookTensor make_codebook(const TensorPlan& item, std::span<const float> w,
                             std::vector<float> entries, std::vector<std::uint8_t> indices) {
  CodebookTensor c;
  c.shape = item.shape;
  c.format = item.choice->spec.format(item.choice->group_rows);
  c.k = static_cast<std::int64_t>(entries.size());
  std::vector<std::uint8_t> order(entries.size()), place(entries.size());
  std::iota(order.begin(), order.end(), std::uint8_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint8_t a, std::uint8_t b) { return entries[a] < entries[b]; });
  for (std::size_t i = 0; i < order.size(); ++i) place[order[i]] = static_cast<std::uint8_t>(i);
  for (auto& index : indices) index = place[index];
  std::sort(entries.begin(), entries.end());
  c.entries = std::move(entries);
  c.indices = std::move(indices);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double d = static_cast<double>(w[i]) - c.entries[c.indices[i]];
    c.error += d * d;
  }
  return c;
}

}  // namespace tessera::quant
