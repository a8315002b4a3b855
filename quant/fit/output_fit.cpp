#include "quant/fit/output_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/linear_algebra.h"
#include "core/parallel.h"
#include "quant/fit/assign.h"

namespace tessera::quant {
namespace {

constexpr std::int64_t kRows = 32;  // that are worked on together: the same for any thread count
constexpr std::size_t kBlock = 64;  // columns of GPTQ's lazy updates

// The entries of one row's group, and which is nearest.
class Nearest {
 public:
  explicit Nearest(std::span<const float> entries)
      : entries_(entries), limits_(cell_limits(entries)) {}
  std::uint8_t operator()(float w) const {
    return static_cast<std::uint8_t>(std::lower_bound(limits_.begin(), limits_.end(), w) -
                                     limits_.begin());
  }
  float entry(std::uint8_t code) const { return entries_[code]; }

 private:
  std::span<const float> entries_;
  std::vector<float> limits_;
};

std::size_t group_of(const CodebookTensor& codebook, std::int64_t row) {
  return codebook.format.group_rows == 0
             ? 0
             : static_cast<std::size_t>(row / codebook.format.group_rows);
}

std::size_t groups_of(const CodebookTensor& codebook) {
  return codebook.entries.size() / static_cast<std::size_t>(codebook.k);
}

std::span<const float> entries_of(const CodebookTensor& codebook, std::size_t group) {
  const auto k = static_cast<std::size_t>(codebook.k);
  return std::span(codebook.entries).subspan(group * k, k);
}

// The columns of a part, of `rows` rows from `row` on.
std::vector<float> cut(std::span<const float> matrix, std::int64_t columns,
                       const InputMoments& part, std::int64_t row, std::int64_t rows) {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(rows * part.columns));
  for (std::int64_t r = row; r < row + rows; ++r) {
    const auto begin = matrix.begin() + r * columns + part.column;
    out.insert(out.end(), begin, begin + part.columns);
  }
  return out;
}

// Entries as a linear function of what is free in them: entries = design * numbers, [k, free].
struct Design {
  std::size_t k, free = 0;
  std::vector<double> design;

  Design(const CodebookSpec& spec, std::size_t entries) : k(entries) {
    if (spec.kind() == CodebookSpec::Kind::kScaled) {
      free = 1;
      design.assign(spec.entries().begin(), spec.entries().end());
    } else if (spec.kind() == CodebookSpec::Kind::kAdaptive) {
      free = k;
      design.resize(k * k);
      for (std::size_t i = 0; i < k; ++i) design[i * k + i] = 1;
    }
  }
  // design * numbers and its transpose, and the diagonal of design' diag(weight) design.
  std::vector<double> entries(std::span<const double> numbers) const {
    std::vector<double> out(k);
    for (std::size_t i = 0; i < k; ++i) {
      for (std::size_t f = 0; f < free; ++f) out[i] += design[i * free + f] * numbers[f];
    }
    return out;
  }
  void gather(std::span<const double> of_entries, std::span<double> numbers, bool squared) const {
    for (std::size_t f = 0; f < free; ++f) {
      numbers[f] = 0;
      for (std::size_t i = 0; i < k; ++i) {
        const double d = design[i * free + f];
        numbers[f] += (squared ? d * d : d) * of_entries[i];
      }
    }
  }
  // The numbers that make these entries.
  std::vector<double> numbers(std::span<const float> of) const {
    if (free == k) return {of.begin(), of.end()};
    std::size_t at = 0;
    for (std::size_t i = 0; i < k; ++i) {
      if (std::abs(design[i]) > std::abs(design[at])) at = i;
    }
    return {of[at] / design[at]};
  }
};

// Sorts the entries of a group, and gives the codes of its rows their new places.
void sort_entries(CodebookTensor& codebook, std::size_t group, std::span<std::uint8_t> codes) {
  const auto k = static_cast<std::size_t>(codebook.k);
  const std::span<float> entries = std::span(codebook.entries).subspan(group * k, k);
  std::vector<std::uint8_t> order(k), place(k);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return entries[a] < entries[b]; });
  std::vector<float> sorted(k);
  for (std::size_t i = 0; i < k; ++i) {
    sorted[i] = entries[order[i]];
    place[order[i]] = static_cast<std::uint8_t>(i);
  }
  std::copy(sorted.begin(), sorted.end(), entries.begin());
  for (std::uint8_t& code : codes) code = place[code];
}

// Adds what solves A x = residual, A symmetric, semidefinite and without coupling between groups of
// f unknowns, by conjugate gradients in each group, preconditioned by A's approximate diagonal
// `scale`; an unknown whose scale is 0 stays. `image` gives A x.
template <class Image>
void conjugate_gradients(std::size_t groups, std::size_t f, int turns,
                         std::span<const double> scale, std::vector<double> residual,
                         std::vector<double>& x, const Image& image) {
  std::vector<double> before(groups), start(groups), direction(groups * f);
  for (int turn = 0; turn < turns; ++turn) {
    bool done = true;
    for (std::size_t g = 0; g < groups; ++g) {
      double size = 0;
      for (std::size_t i = g * f; i < (g + 1) * f; ++i)
        size += scale[i] > 0 ? residual[i] * residual[i] / scale[i] : 0;
      if (turn == 0) start[g] = size;
      const double keep = turn == 0 || before[g] == 0 ? 0 : size / before[g];
      before[g] = size > 1e-10 * start[g] ? size : 0;  // 0: this group is done
      done = done && before[g] == 0;
      for (std::size_t i = g * f; i < (g + 1) * f; ++i)
        direction[i] =
            before[g] == 0 || !(scale[i] > 0) ? 0 : residual[i] / scale[i] + keep * direction[i];
    }
    if (done) return;
    const std::vector<double> moved = image(direction);
    for (std::size_t g = 0; g < groups; ++g) {
      double curvature = 0;
      for (std::size_t i = g * f; i < (g + 1) * f; ++i) curvature += direction[i] * moved[i];
      if (!(curvature > 0)) continue;
      const double step = before[g] / curvature;
      for (std::size_t i = g * f; i < (g + 1) * f; ++i) {
        x[i] += step * direction[i];
        residual[i] -= step * moved[i];
      }
    }
  }
}

}  // namespace

struct OutputFit::Chunk {
  const InputMoments* part;
  std::int64_t row, rows;
};

OutputFit::OutputFit(std::span<const float> weights, std::int64_t rows,
                     std::vector<InputMoments> parts, double damping)
    : weights_(weights),
      rows_(rows),
      columns_(static_cast<std::int64_t>(weights.size()) / rows),
      parts_(std::move(parts)) {
  std::int64_t tiled = 0;
  for (InputMoments& part : parts_) {
    tiled += part.rows * part.columns;
    const auto n = static_cast<std::size_t>(part.columns);
    double trace = 0;
    for (std::size_t j = 0; j < n; ++j) trace += part.moments[j * n + j];
    // Of inputs that are always 0 nothing is known: every weight counts alike.
    const auto add = static_cast<float>(trace > 0 ? damping * trace / static_cast<double>(n) : 1.0);
    for (std::size_t j = 0; j < n; ++j) part.moments[j * n + j] += add;
  }
  TESSERA_ASSERT(tiled == static_cast<std::int64_t>(weights.size()));
}

std::vector<OutputFit::Chunk> OutputFit::chunks() const {
  std::vector<Chunk> out;
  for (const InputMoments& part : parts_) {
    for (std::int64_t r = 0; r < part.rows; r += kRows)
      out.push_back({&part, part.row + r, std::min(kRows, part.rows - r)});
  }
  return out;
}

std::vector<float> OutputFit::misses(const CodebookTensor& codebook) const {
  std::vector<float> out(weights_.begin(), weights_.end());
  for (std::int64_t r = 0; r < rows_; ++r) {
    const auto entries = entries_of(codebook, group_of(codebook, r));
    for (std::int64_t i = r * columns_; i < (r + 1) * columns_; ++i)
      out[static_cast<std::size_t>(i)] -= entries[codebook.indices[static_cast<std::size_t>(i)]];
  }
  return out;
}

double OutputFit::error(const CodebookTensor& codebook) const {
  const std::vector<Chunk> list = chunks();
  const std::vector<float> missed = misses(codebook);
  std::vector<double> error(list.size()), whole(list.size());
  parallel_for(std::ssize(list), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = begin; c < end; ++c) {
      const auto& [part, row, rows] = list[static_cast<std::size_t>(c)];
      const auto n = static_cast<int>(part->columns);
      for (auto [matrix, sum] : {std::pair{std::span<const float>(missed), &error},
                                 {std::span<const float>(weights_), &whole}}) {
        const std::vector<float> d = cut(matrix, columns_, *part, row, rows);
        std::vector<float> costs(d.size());
        linalg::multiply(d, part->moments, n, costs, n, static_cast<int>(rows), n, n);
        double total = 0;
        for (std::size_t i = 0; i < d.size(); ++i) total += double{d[i]} * costs[i];
        (*sum)[static_cast<std::size_t>(c)] = total;
      }
    }
  });
  const double all = std::accumulate(whole.begin(), whole.end(), 0.0);
  return std::accumulate(error.begin(), error.end(), 0.0) / std::max(all, 1e-300);
}

std::vector<float> OutputFit::importance() const {
  std::vector<float> out(weights_.size());
  for (const InputMoments& part : parts_) {
    for (std::int64_t r = part.row; r < part.row + part.rows; ++r) {
      for (std::int64_t j = 0; j < part.columns; ++j)
        out[static_cast<std::size_t>(r * columns_ + part.column + j)] =
            part.moments[static_cast<std::size_t>(j * (part.columns + 1))];
    }
  }
  return out;
}

void OutputFit::round(CodebookTensor& codebook) const {
  std::vector<std::vector<float>> factors(parts_.size());
  parallel_for(std::ssize(parts_), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const InputMoments& part = parts_[static_cast<std::size_t>(p)];
      std::vector<double> u(part.moments.begin(), part.moments.end());
      check(linalg::inverse_cholesky(u, static_cast<int>(part.columns)),
            "the second moments of a layer's inputs are singular: expected more samples, or more "
            "damping");
      factors[static_cast<std::size_t>(p)].assign(u.begin(), u.end());
    }
  });
  const std::vector<Chunk> list = chunks();
  parallel_for(std::ssize(list), 1, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t c = from; c < to; ++c) {
      const auto& [part, row, rows] = list[static_cast<std::size_t>(c)];
      const std::span<const float> u = factors[static_cast<std::size_t>(part - parts_.data())];
      const auto n = static_cast<std::size_t>(part->columns);
      std::vector<float> w = cut(weights_, columns_, *part, row, rows);
      std::vector<float> missed(static_cast<std::size_t>(rows) * kBlock);
      for (std::size_t first = 0; first < n; first += kBlock) {
        const std::size_t width = std::min(kBlock, n - first);
        for (std::int64_t r = 0; r < rows; ++r) {
          const Nearest nearest(entries_of(codebook, group_of(codebook, row + r)));
          float* const x = &w[static_cast<std::size_t>(r) * n];
          float* const miss = &missed[static_cast<std::size_t>(r) * width];
          std::uint8_t* const code =
              &codebook.indices[static_cast<std::size_t>((row + r) * columns_ + part->column)];
          for (std::size_t j = first; j < first + width; ++j) {
            code[j] = nearest(x[j]);
            miss[j - first] = (x[j] - nearest.entry(code[j])) / u[j * n + j];
            for (std::size_t l = j + 1; l < first + width; ++l)
              x[l] -= miss[j - first] * u[j * n + l];
          }
        }
        const std::size_t next = first + width;
        if (next < n)
          linalg::subtract_product(missed, u.subspan(first * n + next), static_cast<int>(n),
                                   std::span(w).subspan(next), static_cast<int>(n),
                                   static_cast<int>(rows), static_cast<int>(n - next),
                                   static_cast<int>(width));
      }
    }
  });
}

std::int64_t OutputFit::descend(CodebookTensor& codebook, int passes) const {
  const std::vector<Chunk> list = chunks();
  const std::vector<float> missed = misses(codebook);
  std::vector<std::int64_t> changes(list.size());
  parallel_for(std::ssize(list), 1, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t c = from; c < to; ++c) {
      const auto& [part, row, rows] = list[static_cast<std::size_t>(c)];
      const auto n = static_cast<std::size_t>(part->columns);
      const std::vector<float> d = cut(missed, columns_, *part, row, rows);
      std::vector<float> costs(d.size());  // (W - Q) H
      const auto width = static_cast<int>(n);
      linalg::multiply(d, part->moments, width, costs, width, static_cast<int>(rows), width, width);
      for (std::int64_t r = 0; r < rows; ++r) {
        const Nearest nearest(entries_of(codebook, group_of(codebook, row + r)));
        const std::span<float> g = std::span(costs).subspan(static_cast<std::size_t>(r) * n, n);
        std::uint8_t* const code =
            &codebook.indices[static_cast<std::size_t>((row + r) * columns_ + part->column)];
        for (int pass = 0; pass < passes; ++pass) {
          std::int64_t changed = 0;
          for (std::size_t j = 0; j < n; ++j) {
            const float now = nearest.entry(code[j]);
            const std::uint8_t best = nearest(now + g[j] / part->moments[j * n + j]);
            if (best == code[j]) continue;
            linalg::add_scaled(now - nearest.entry(best),
                               std::span(part->moments).subspan(j * n, n), g);
            code[j] = best;
            ++changed;
          }
          changes[static_cast<std::size_t>(c)] += changed;
          if (changed == 0) break;
        }
      }
    }
  });
  return std::accumulate(changes.begin(), changes.end(), std::int64_t{0});
}

std::vector<double> OutputFit::by_entry(const CodebookTensor& codebook,
                                        std::span<const float> values) const {
  const std::vector<Chunk> list = chunks();
  const auto k = static_cast<std::size_t>(codebook.k);
  std::vector<std::vector<double>> sums(list.size());  // from the group of a chunk's first row on
  parallel_for(std::ssize(list), 1, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t c = from; c < to; ++c) {
      const auto& [part, row, rows] = list[static_cast<std::size_t>(c)];
      const auto n = static_cast<int>(part->columns);
      const std::vector<float> v = cut(values, columns_, *part, row, rows);
      std::vector<float> product(v.size());
      linalg::multiply(v, part->moments, n, product, n, static_cast<int>(rows), n, n);
      const std::size_t first = group_of(codebook, row);
      std::vector<double>& out = sums[static_cast<std::size_t>(c)];
      out.resize((group_of(codebook, row + rows - 1) + 1 - first) * k);
      for (std::int64_t r = 0; r < rows; ++r) {
        double* const entry = &out[(group_of(codebook, row + r) - first) * k];
        const std::uint8_t* const code =
            &codebook.indices[static_cast<std::size_t>((row + r) * columns_ + part->column)];
        for (int j = 0; j < n; ++j) entry[code[j]] += product[static_cast<std::size_t>(r * n + j)];
      }
    }
  });
  std::vector<double> out(codebook.entries.size());
  for (std::size_t c = 0; c < list.size(); ++c) {
    const std::size_t first = group_of(codebook, list[c].row) * k;
    for (std::size_t i = 0; i < sums[c].size(); ++i) out[first + i] += sums[c][i];
  }
  return out;
}

void OutputFit::refit(CodebookTensor& codebook, const CodebookSpec& spec) const {
  const Design design(spec, static_cast<std::size_t>(codebook.k));
  if (design.free == 0) return;
  const std::size_t groups = groups_of(codebook), f = design.free, k = design.k;
  // Of all groups one after the other: the residual, the direction, and Jacobi's preconditioner.
  const auto gathered = [&](const std::vector<double>& of_entries, bool squared) {
    std::vector<double> out(groups * f);
    for (std::size_t g = 0; g < groups; ++g)
      design.gather(std::span(of_entries).subspan(g * k, k), std::span(out).subspan(g * f, f),
                    squared);
    return out;
  };
  std::vector<double> weight(groups * k);
  const std::vector<float> alone = importance();
  for (std::size_t i = 0; i < alone.size(); ++i) {
    const std::size_t g = group_of(codebook, static_cast<std::int64_t>(i) / columns_);
    weight[g * k + codebook.indices[i]] += alone[i];
  }
  const std::vector<double> scale = gathered(weight, true);
  const std::vector<double> residual = gathered(by_entry(codebook, misses(codebook)), false);
  std::vector<double> numbers;
  for (std::size_t g = 0; g < groups; ++g) {
    const std::vector<double> some = design.numbers(entries_of(codebook, g));
    numbers.insert(numbers.end(), some.begin(), some.end());
  }
  conjugate_gradients(groups, f, std::min<int>(kMostTurns, static_cast<int>(f)), scale, residual,
                      numbers, [&](const std::vector<double>& direction) {
                        stop_if_interrupted();
                        std::vector<float> moved(weights_.size());
                        for (std::int64_t r = 0; r < rows_; ++r) {
                          const std::size_t g = group_of(codebook, r);
                          const std::vector<double> entries =
                              design.entries(std::span(direction).subspan(g * f, f));
                          for (auto i = static_cast<std::size_t>(r * columns_);
                               i < static_cast<std::size_t>((r + 1) * columns_); ++i)
                            moved[i] = static_cast<float>(entries[codebook.indices[i]]);
                        }
                        return gathered(by_entry(codebook, moved), false);
                      });
  const std::int64_t rows = codebook.format.group_rows ? codebook.format.group_rows : rows_;
  for (std::size_t g = 0; g < groups; ++g) {
    const std::span<const double> some = std::span(numbers).subspan(g * f, f);
    // A negative scale is none.
    if (spec.kind() == CodebookSpec::Kind::kScaled && !(some[0] > 0)) continue;
    const std::vector<double> entries = design.entries(some);
    std::copy(entries.begin(), entries.end(), codebook.entries.begin() + std::ptrdiff_t(g * k));
    const auto begin = static_cast<std::int64_t>(g) * rows * columns_;
    const std::int64_t end = std::min(begin + rows * columns_, rows_ * columns_);
    sort_entries(
        codebook, g,
        std::span(codebook.indices)
            .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
  }
}

}  // namespace tessera::quant
