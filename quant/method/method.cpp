#include "quant/method/method.h"

#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <span>

namespace tessera::quant {

CStepReport Method::begin(nn::Trainer& trainer, const CompressionPlan& plan,
                          const BatchSource& data, bool resuming) {
  require(plan);
  plan_ = plan;
  return start(trainer, data, resuming);
}

Codebooks Method::codebooks(const nn::Trainer& trainer) const {
  return load_codebooks(trainer.state(), plan_);
}

void store_codebooks(State& state, const Codebooks& codebooks) {
  for (const auto& [name, c] : codebooks) {
    state.set(name + ".c_indices",
              Tensor::from(c.indices, Shape{static_cast<std::int64_t>(c.indices.size())}));
    state.set(name + ".c_entries", Tensor::from(c.entries, c.format.entries_shape(c.shape, c.k)));
    if (!c.scales.empty())
      state.set(name + ".c_scales", Tensor::from(c.scales, c.format.scale_shape(c.shape)));
    if (c.sparse.empty()) continue;
    const Shape count{static_cast<std::int64_t>(c.sparse.positions.size())};
    state.set(name + ".c_positions", Tensor::from(c.sparse.positions, count));
    state.set(name + ".c_values", Tensor::from(c.sparse.values, count));
  }
}

Codebooks load_codebooks(const State& state, const CompressionPlan& plan) {
  Codebooks out;
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    CodebookTensor c;
    c.shape = item.shape;
    c.format = item.choice->spec.format(item.choice->group_rows);
    const Tensor& entries = state.get(item.name + ".c_entries");
    c.k = entries.shape()[1].value();
    c.entries = entries.to_vector<float>();
    c.indices = state.get(item.name + ".c_indices").to_vector<std::uint8_t>();
    if (c.format.scale_block != 0) c.scales = state.get(item.name + ".c_scales").to_vector<float>();
    if (item.choice->sparse > 0) {
      c.sparse.positions = state.get(item.name + ".c_positions").to_vector<std::int64_t>();
      c.sparse.values = state.get(item.name + ".c_values").to_vector<float>();
    }
    c.shares = item.shares;
    out.emplace(item.name, std::move(c));
  }
  return out;
}

namespace {

const CodebookTensor* find(const Codebooks& codebooks, const std::string& name) {
  const auto found = codebooks.find(name);
  return found == codebooks.end() ? nullptr : &found->second;
}

// Codebooks as text that reads back to the same bits, for ranks of one kind of machine.
template <class T>
void put(std::string& text, std::span<const T> values) {
  const std::uint64_t n = values.size();
  text.append(reinterpret_cast<const char*>(&n), sizeof(n));
  text.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}
template <class T>
std::vector<T> take(std::string_view& text) {
  std::uint64_t n = 0;
  check(text.size() >= sizeof(n), "a rank sent half a codebook");
  std::memcpy(&n, text.data(), sizeof(n));
  text.remove_prefix(sizeof(n));
  check(n <= text.size() / sizeof(T), "a rank sent half a codebook");
  std::vector<T> out(n);
  std::memcpy(out.data(), text.data(), n * sizeof(T));
  text.remove_prefix(n * sizeof(T));
  return out;
}

std::string packed(const CodebookTensor& c) {
  std::string out;
  put(out, std::span<const std::uint8_t>(c.indices));
  put(out, std::span<const float>(c.entries));
  put(out, std::span<const float>(c.scales));
  put(out, std::span<const std::int64_t>(c.sparse.positions));
  put(out, std::span<const float>(c.sparse.values));
  const double found[] = {c.error, c.changed};
  put(out, std::span<const double>(found));
  const std::int64_t k[] = {c.k};
  put(out, std::span<const std::int64_t>(k));
  return out;
}

CodebookTensor unpacked(std::string_view text, const TensorPlan& item) {
  CodebookTensor c;
  c.shape = item.shape;
  c.format = item.choice->spec.format(item.choice->group_rows);
  c.shares = item.shares;
  c.indices = take<std::uint8_t>(text);
  c.entries = take<float>(text);
  c.scales = take<float>(text);
  c.sparse.positions = take<std::int64_t>(text);
  c.sparse.values = take<float>(text);
  const auto found = take<double>(text);
  const auto k = take<std::int64_t>(text);
  check(found.size() == 2 && k.size() == 1, "a rank sent half a codebook");
  c.error = found[0];
  c.changed = found[1];
  c.k = k[0];
  return c;
}

// Fits `item`, or all tensors that share a codebook with it, of which it is the first.
void fit_item(const CompressionPlan& plan, const TensorPlan& item,
              const std::map<std::string, std::vector<float>>& weights, const Codebooks& previous,
              Codebooks& out) {
  const TensorChoice& choice = *item.choice;
  if (item.shares.empty()) {
    out.emplace(item.name,
                fit_tensor(item.name, choice.spec, item.shape, choice.group_rows,
                           weights.at(item.name), {}, find(previous, item.name), choice.sparse));
    return;
  }
  std::vector<SharedPart> parts;
  for (const TensorPlan* part : plan.sharers(item)) {
    parts.push_back(
        {part->name, part->shape, weights.at(part->name), {}, find(previous, part->name)});
  }
  auto fitted = fit_shared(choice.spec, parts, choice.sparse);
  for (std::size_t i = 0; i < parts.size(); ++i) out.emplace(parts[i].name, std::move(fitted[i]));
}

// Each rank its share of the fits, and all of them everything.
void fit_items(const CompressionPlan& plan,
               const std::map<std::string, std::vector<float>>& weights, const Codebooks& previous,
               const nn::Ranks& ranks, Codebooks& out) {
  int turn = 0;
  std::set<std::string> begun;
  for (const auto& item : plan.tensors) {
    if (!item.choice || begun.contains(item.name)) continue;
    begun.insert(item.name);
    if (!item.shares.empty()) {
      for (const TensorPlan* part : plan.sharers(item)) begun.insert(part->name);
    }
    if (turn++ % ranks.size() == ranks.rank()) fit_item(plan, item, weights, previous, out);
  }
  if (ranks.alone()) return;
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    const CodebookTensor* mine = find(out, item.name);
    for (const std::string& theirs :
         all_gather(*ranks.communicator, mine ? packed(*mine) : std::string())) {
      if (mine == nullptr && !theirs.empty()) out.emplace(item.name, unpacked(theirs, item));
    }
  }
}

}  // namespace

Codebooks fit_all(const CompressionPlan& plan,
                  const std::function<std::vector<float>(const std::string&)>& weights,
                  const Codebooks& previous, CStepReport& report, const nn::Ranks& ranks) {
  Codebooks out;
  double total = 0, changed = 0, count = 0, squares = 0;
  report.tensors.clear();
  std::map<std::string, std::vector<float>> all;
  for (const auto& item : plan.tensors) {
    if (item.choice) all[item.name] = weights(item.name);
  }
  fit_items(plan, all, previous, ranks, out);
  for (const auto& item : plan.tensors) {
    if (!item.choice) continue;
    const CodebookTensor& c = out.at(item.name);
    const std::vector<float>& w = all.at(item.name);
    double norm = 0;
    for (const float v : w) norm += static_cast<double>(v) * v;
    const auto n = static_cast<double>(w.size());
    report.tensors.push_back({item.name, std::sqrt(c.error / std::max(norm, 1e-300)), c.changed});
    total += c.error;
    squares += norm;
    changed += c.changed * n;
    count += n;
  }
  report.distance = std::sqrt(total / std::max(squares, 1e-300));
  report.changed = changed / count;
  return out;
}

CStepReport measured(const State& state, const Codebooks& now, const Codebooks& before) {
  CStepReport report;
  double error = 0, squares = 0, changed = 0, count = 0;
  for (const auto& [name, c] : now) {
    const auto w = state.get(name).span<float>();
    std::vector<float> delta(w.size());
    c.decode(delta);
    double own_error = 0, own_squares = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double d = static_cast<double>(w[i]) - delta[i];
      own_error += d * d;
      own_squares += static_cast<double>(w[i]) * w[i];
    }
    const auto n = static_cast<double>(w.size());
    double own_changed = n;
    if (const CodebookTensor* old = find(before, name)) {
      std::int64_t unlike = 0;
      for (std::size_t i = 0; i < c.indices.size(); ++i) unlike += c.indices[i] != old->indices[i];
      own_changed = static_cast<double>(unlike * c.format.vector_len);
    }
    report.tensors.push_back(
        {name, std::sqrt(own_error / std::max(own_squares, 1e-300)), own_changed / n});
    error += own_error;
    squares += own_squares;
    changed += own_changed;
    count += n;
  }
  report.distance = std::sqrt(error / std::max(squares, 1e-300));
  report.changed = changed / std::max(count, 1.0);
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
