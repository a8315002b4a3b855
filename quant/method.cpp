#include "quant/method.h"

#include <cmath>

namespace tessera::quant {

void store_codebooks(State& state, const Codebooks& codebooks) {
  for (const auto& [name, c] : codebooks) {
    state.set(name + ".c_indices",
              Tensor::from(c.indices, Shape{static_cast<std::int64_t>(c.indices.size())}));
    state.set(name + ".c_entries", Tensor::from(c.entries, c.format.entries_shape(c.shape, c.k)));
  }
}

Codebooks load_codebooks(const State& state, const CompressionPlan& plan) {
  Codebooks out;
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    CodebookTensor c;
    c.shape = item.shape;
    c.format.bits = item.choice->spec.bits();
    c.format.group_rows = item.choice->group_rows;
    const Tensor& entries = state.get(item.name + ".c_entries");
    c.k = entries.shape()[1].value();
    c.entries = entries.to_vector<float>();
    c.indices = state.get(item.name + ".c_indices").to_vector<std::uint8_t>();
    out.emplace(item.name, std::move(c));
  }
  return out;
}

Codebooks fit_all(const CompressionPlan& plan,
                  const std::function<std::vector<float>(const std::string&)>& weights,
                  const Codebooks& previous, CStepReport& report) {
  Codebooks out;
  double total = 0, changed = 0, count = 0, squares = 0;
  report.tensors.clear();
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    const std::vector<float> w = weights(item.name);
    const auto old = previous.find(item.name);
    CodebookTensor c = fit_tensor(item.name, item.choice->spec, item.shape, item.choice->group_rows,
                                  w, {}, old == previous.end() ? nullptr : &old->second);
    double norm = 0;
    for (const float v : w) norm += static_cast<double>(v) * v;
    const auto n = static_cast<double>(w.size());
    report.tensors.push_back({item.name, std::sqrt(c.error / std::max(norm, 1e-300)), c.changed});
    total += c.error;
    squares += norm;
    changed += c.changed * n;
    count += n;
    out.emplace(item.name, std::move(c));
  }
  report.distance = std::sqrt(total / std::max(squares, 1e-300));
  report.changed = changed / count;
  return out;
}

CStepReport first_report(const State& state, const Codebooks& codebooks) {
  CStepReport report;
  report.changed = 1;
  double total = 0, squares = 0;
  for (const auto& [name, c] : codebooks) {
    const auto w = state.get(name).span<float>();
    std::vector<float> delta(w.size());
    c.decode(delta);
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double d = static_cast<double>(w[i]) - delta[i];
      error += d * d;
      norm += static_cast<double>(w[i]) * w[i];
    }
    report.tensors.push_back({name, std::sqrt(error / std::max(norm, 1e-300)), 1});
    total += error;
    squares += norm;
  }
  report.distance = std::sqrt(total / std::max(squares, 1e-300));
  return report;
}

State decoded_state(const State& state, const Codebooks& codebooks) {
  State out;
  for (const auto& [name, entry] : state.entries()) {
    const auto found = codebooks.find(name);
    if (found == codebooks.end()) {
      out.set(name, entry.tensor);
      continue;
    }
    Tensor decoded(DType::f32, entry.tensor.shape());
    found->second.decode(decoded.span<float>());
    out.set(name, decoded);
  }
  return out;
}

}  // namespace tessera::quant
