#include "quant/pack/codebook_tensor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/codebook/decode.h"
#include "ops/sparse/positions.h"

namespace tessera::quant {

namespace {

// Consecutive weights of which `kept` are corrected.
struct Segment {
  std::int64_t begin = 0, end = 0, kept = 0;
};

struct Problem {
  const CodebookSpec& spec;
  std::string name;
  std::span<const float> weights, importance;
  std::int64_t rows, group_rows;
  const GroupedFit* warm;
  std::vector<Segment> segments;
  std::int64_t kept() const {
    std::int64_t n = 0;
    for (const Segment& s : segments) n += s.kept;
    return n;
  }
};

// Where the scale of a weight stands; 1 without blocks.
class ScaleBlocks {
 public:
  ScaleBlocks(std::int64_t row, std::int64_t block)
      : row_(row), block_(block == CodebookFormat::kScalePerRow ? row : block) {}
  float scale(std::span<const float> scales, std::int64_t i) const {
    if (block_ == 0) return 1;
    const std::int64_t per_row = (row_ + block_ - 1) / block_;
    return scales[static_cast<std::size_t>(i / row_ * per_row + i % row_ / block_)];
  }

 private:
  std::int64_t row_, block_;
};

struct Solution {
  GroupedFit fit;
  std::vector<std::int64_t> corrected;  // ascending
};

GroupedFit fit_codebooks(const Problem& p, std::span<const float> importance) {
  if (p.spec.scale_block() != 0)
    return fit_blocks(p.spec, p.weights, p.rows, importance, p.warm, {.name = p.name});
  if (p.spec.vector_len() > 1)
    return fit_vectors(p.spec, p.weights, p.rows, p.group_rows, importance, p.warm,
                       {.name = p.name});
  return fit_row_groups(p.spec, p.weights, p.rows, p.group_rows, importance, p.warm,
                        {.exact = true, .name = p.name});
}

// Squared distance of each weight to its entry, by importance.
std::vector<double> misses(const Problem& p, const GroupedFit& fit) {
  const auto n = static_cast<std::int64_t>(p.weights.size());
  const std::int64_t size = n / p.rows * std::min(p.rows, p.group_rows);
  const ScaleBlocks blocks(n / p.rows, p.spec.scale_block());
  std::vector<double> out(p.weights.size());
  for (std::int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const float entry = fit.entries[static_cast<std::size_t>(i / size * fit.k + fit.indices[at])];
    const double miss = static_cast<double>(p.weights[at]) - entry * blocks.scale(fit.scales, i);
    out[at] = miss * miss * (p.importance.empty() ? 1.0 : p.importance[at]);
  }
  return out;
}

// The places of the largest misses of each segment; of equal ones the first.
std::vector<std::int64_t> largest(const Problem& p, const std::vector<double>& miss) {
  std::vector<std::int64_t> out, places;
  for (const Segment& s : p.segments) {
    places.resize(static_cast<std::size_t>(s.end - s.begin));
    for (std::int64_t i = s.begin; i < s.end; ++i)
      places[static_cast<std::size_t>(i - s.begin)] = i;
    const auto end = places.begin() + s.kept;
    std::nth_element(places.begin(), end, places.end(), [&](std::int64_t a, std::int64_t b) {
      const double x = miss[static_cast<std::size_t>(a)], y = miss[static_cast<std::size_t>(b)];
      return x > y || (x == y && a < b);
    });
    std::sort(places.begin(), end);
    out.insert(out.end(), places.begin(), end);
  }
  return out;
}

// By turns from given places; none: from the codebook of all weights.
Solution alternate(const Problem& p, std::vector<std::int64_t> corrected) {
  Solution best;
  double best_error = std::numeric_limits<double>::infinity();
  for (int turn = 0; turn < kAlternations; ++turn) {
    GroupedFit fit;
    if (corrected.empty()) {
      fit = fit_codebooks(p, p.importance);
    } else {
      std::vector<float> others(p.importance.begin(), p.importance.end());
      others.resize(p.weights.size(), p.importance.empty() ? 1.0f : 0.0f);
      for (const std::int64_t i : corrected) others[static_cast<std::size_t>(i)] = 0;
      fit = fit_codebooks(p, others);
    }
    const std::vector<double> miss = misses(p, fit);
    std::vector<std::int64_t> next = largest(p, miss);
    double error = 0;
    auto skip = next.begin();
    for (std::size_t i = 0; i < miss.size(); ++i) {
      if (skip != next.end() && *skip == static_cast<std::int64_t>(i)) {
        ++skip;
      } else {
        error += miss[i];
      }
    }
    if (!(error < best_error)) break;
    const bool settled = next == corrected;
    corrected = next;
    fit.error = best_error = error;
    best = {std::move(fit), std::move(next)};
    if (settled) break;
  }
  return best;
}

// The places farthest from the mean: outliers of the weights rather than of a codebook that they
// have shaped.
std::vector<std::int64_t> outliers(const Problem& p) {
  double sum = 0, mass = 0;
  for (std::size_t i = 0; i < p.weights.size(); ++i) {
    const double h = p.importance.empty() ? 1.0 : p.importance[i];
    sum += h * p.weights[i];
    mass += h;
  }
  const double mean = mass > 0 ? sum / mass : 0;
  std::vector<double> far(p.weights.size());
  for (std::size_t i = 0; i < far.size(); ++i)
    far[i] = (p.importance.empty() ? 1.0 : p.importance[i]) * (p.weights[i] - mean) *
             (p.weights[i] - mean);
  return largest(p, far);
}

// From the places of an earlier fit, or from both starts when there are none.
Solution solve(const Problem& p, std::vector<std::int64_t> corrected) {
  if (p.kept() == 0) return {fit_codebooks(p, p.importance), {}};
  if (!corrected.empty()) return alternate(p, std::move(corrected));
  Solution one = alternate(p, {}), other = alternate(p, outliers(p));
  return other.fit.error < one.fit.error ? other : one;
}

void check_share(const std::string& name, double sparse) {
  check(sparse >= 0 && sparse < 1, "'", name, "': a sparse share of ", sparse,
        "; it must be at least 0 and below 1");
}

// One tensor's part of a solution, weights [begin, begin + numel).
CodebookTensor part_of(const Problem& p, const Solution& s, const Shape& shape,
                       std::int64_t group_rows, std::int64_t begin) {
  const std::int64_t end = begin + shape.numel(), d = p.spec.vector_len();
  CodebookTensor out;
  out.shape = shape;
  out.format = p.spec.format(group_rows);
  out.k = s.fit.k;
  out.entries = s.fit.entries;
  if (out.format.scale_block != 0) out.scales = s.fit.scales;
  out.indices.assign(s.fit.indices.begin() + begin / d, s.fit.indices.begin() + end / d);
  std::vector<float> coded(static_cast<std::size_t>(shape.numel()));
  out.decode(coded);
  auto at = std::lower_bound(s.corrected.begin(), s.corrected.end(), begin);
  for (; at != s.corrected.end() && *at < end; ++at) {
    const auto i = static_cast<std::size_t>(*at - begin);
    out.sparse.positions.push_back(*at - begin);
    out.sparse.values.push_back(p.weights[static_cast<std::size_t>(*at)] - coded[i]);
  }
  return out;
}

}  // namespace

std::int64_t SparsePart::count(double share, std::int64_t weights) {
  return static_cast<std::int64_t>(std::ceil(share * static_cast<double>(weights)));
}

CodebookTensor fit_tensor(const std::string& name, const CodebookSpec& spec, const Shape& shape,
                          std::int64_t group_rows, std::span<const float> weights,
                          std::span<const float> importance, const CodebookTensor* warm,
                          double sparse) {
  check_share(name, sparse);
  const CodebookFormat format = spec.format(group_rows);
  format.validate(shape);
  check(sparse == 0 || spec.vector_len() == 1, "'", name, "': ", spec.text(),
        " takes no sparse correction");
  check(group_rows == 0 || spec.scale_block() == 0, "'", name, "': ", spec.text(),
        " has the same entries for all rows, so it takes no row groups");
  TESSERA_ASSERT(static_cast<std::int64_t>(weights.size()) == shape.numel());
  GroupedFit start;
  if (warm) {
    start.groups = format.groups(shape);
    start.k = warm->k;
    start.entries = warm->entries;
    start.indices = warm->indices;
  }
  const std::int64_t rows = CodebookFormat::rows(shape), n = shape.numel();
  const Problem problem{spec,
                        name,
                        weights,
                        importance,
                        rows,
                        group_rows ? group_rows : rows,
                        warm ? &start : nullptr,
                        {{0, n, SparsePart::count(sparse, n)}}};
  const Solution solution =
      solve(problem, warm ? warm->sparse.positions : std::vector<std::int64_t>());
  CodebookTensor out = part_of(problem, solution, shape, group_rows, 0);
  out.error = solution.fit.error;
  out.changed = solution.fit.changed;
  return out;
}

std::vector<CodebookTensor> fit_shared(const CodebookSpec& spec, std::span<const SharedPart> parts,
                                       double sparse) {
  check(!parts.empty(), "no tensors to share a codebook");
  check(spec.scale_block() == 0, "'", parts[0].name, "': ", spec.text(),
        " has scales of its own for every tensor");
  check(spec.vector_len() == 1, "'", parts[0].name, "': ", spec.text(),
        " is not shared between tensors");
  std::string names;
  std::vector<float> weights, importance;
  std::vector<Segment> segments;
  std::vector<std::int64_t> corrected;
  GroupedFit start;
  start.groups = 1;
  for (const SharedPart& part : parts) {
    check_share(part.name, sparse);
    TESSERA_ASSERT(static_cast<std::int64_t>(part.weights.size()) == part.shape.numel());
    check((part.importance.empty() == parts[0].importance.empty()) &&
              (part.warm == nullptr) == (parts[0].warm == nullptr),
          "'", part.name, "': tensors that share a codebook all have importance and a warm start, ",
          "or none has");
    names += (names.empty() ? "" : ", ") + part.name;
    const auto begin = static_cast<std::int64_t>(weights.size()), n = part.shape.numel();
    segments.push_back({begin, begin + n, SparsePart::count(sparse, n)});
    weights.insert(weights.end(), part.weights.begin(), part.weights.end());
    importance.insert(importance.end(), part.importance.begin(), part.importance.end());
    if (part.warm == nullptr) continue;
    start.k = part.warm->k;
    start.entries = part.warm->entries;
    start.indices.insert(start.indices.end(), part.warm->indices.begin(), part.warm->indices.end());
    for (const std::int64_t i : part.warm->sparse.positions) corrected.push_back(begin + i);
  }
  const Problem problem{spec,    names, weights, importance, 1, 1, parts[0].warm ? &start : nullptr,
                        segments};
  const Solution solution = solve(problem, std::move(corrected));
  std::vector<double> miss = misses(problem, solution.fit);
  for (const std::int64_t i : solution.corrected) miss[static_cast<std::size_t>(i)] = 0;
  std::vector<CodebookTensor> out;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const SharedPart& part = parts[p];
    out.push_back(part_of(problem, solution, part.shape, 0, segments[p].begin));
    CodebookTensor& tensor = out.back();
    tensor.shares = parts[0].name;
    for (std::int64_t i = segments[p].begin; i < segments[p].end; ++i)
      tensor.error += miss[static_cast<std::size_t>(i)];
    tensor.changed = 1;
    if (part.warm == nullptr) continue;
    std::int64_t changed = 0;
    for (std::size_t i = 0; i < tensor.indices.size(); ++i)
      changed += tensor.indices[i] != part.warm->indices[i];
    tensor.changed = static_cast<double>(changed) / static_cast<double>(tensor.indices.size());
  }
  return out;
}

void CodebookTensor::decode(std::span<float> out) const {
  const std::int64_t rows = format.group_rows ? format.group_rows : CodebookFormat::rows(shape);
  const std::int64_t row = CodebookFormat::row_length(shape), size = rows * row;
  const ScaleBlocks blocks(row, format.scale_block);
  const std::int64_t d = format.vector_len;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const std::int64_t entry = at / size * k + indices[static_cast<std::size_t>(at / d)];
    out[i] = entries[static_cast<std::size_t>(entry * d + at % d)] * blocks.scale(scales, at);
  }
  for (std::size_t j = 0; j < sparse.positions.size(); ++j)
    out[static_cast<std::size_t>(sparse.positions[j])] += sparse.values[j];
}

void CodebookTensor::store(State& state, const std::string& name) const {
  Tensor packed(DType::u8, format.indices_shape(shape));
  pack_indices(indices.data(), static_cast<std::int64_t>(indices.size()), format.bits,
               packed.span<std::uint8_t>().data());
  state.set(indices_name(name), packed);
  const std::string plane = entries_name(name);
  const Tensor own = Tensor::from(entries, format.entries_shape(shape, k)).to(format.entry_dtype);
  check(shares.empty() || !state.has(plane) || equal_bits(state.get(plane), own), "'", name,
        "' shares the entries of '", shares, "' but has others");
  state.set(plane, own);
  if (!scales.empty()) state.set(scale_name(name), Tensor::from(scales, format.scale_shape(shape)));
  if (sparse.empty()) return;
  const std::vector<std::uint8_t> stream = encode_positions(sparse.positions);
  state.set(positions_name(name),
            Tensor::from(stream, Shape{static_cast<std::int64_t>(stream.size())}));
  state.set(values_name(name),
            Tensor::from(sparse.values, Shape{static_cast<std::int64_t>(sparse.values.size())}));
}

double CodebookTensor::entropy_bits() const {
  return index_entropy(indices) / format.vector_len;
}

std::string CodebookTensor::weight_name(const std::string& indices) {
  const std::string suffix = indices_name("");
  return indices.ends_with(suffix) ? indices.substr(0, indices.size() - suffix.size()) : indices;
}

}  // namespace tessera::quant
