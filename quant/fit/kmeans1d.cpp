#include "quant/fit/kmeans1d.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/fit/kmeans1d_reach.h"
#include "quant/fit/lloyd.h"

// Branch and bound over boundary positions, and why it is exact.
//
// Boundary j (0 < j < K) of the optimum is a position p_j, and the optimum's codebook c has the
// midpoint t_j of c_j and c_j+1 between the weights x[p_j - 1] and x[p_j]. Positions are kept as
// blocks [lo, hi] of one grid that all boundaries share, each with a middle position r. Moving p_j
// to r while keeping c costs sum h 2 (c_j+1 - c_j) |w - t_j| over the weights between, at most
//     loss = 2 D max(sum over [r, hi) of h (x[hi] - w), sum over [lo, r) of h (w - x[lo - 1]))
// where D bounds c_j+1 - c_j (ClusterReach). Boundaries in one block add up the same way. Hence for
// the blocks b_j that hold the optimum's boundaries
//     error of the optimum >= sum cost(r_j, r_j+1) - sum loss(b_j),
// cost(p, q) being the error of the weights between two positions about their mean. Forward and
// backward dynamic programming give the least right side through each block; above the error of a
// codebook already known (Lloyd's, started from the best path), the block cannot hold the
// optimum's boundary and is dropped. What remains is split until each loss is 16 times smaller,
// and in the end into single positions: there the bound is the error itself and the best path the
// optimum. Losses shrink with the square of a block's width, so few blocks survive a round.
//
// cost, with 0 for inverted ranges, obeys the quadrangle inequality (it is monotone and
// superadditive), block middles are ordered, and losses belong to single blocks: row minima are
// monotone and divide and conquer finds them. A path through inverted ranges covers some weights
// twice, so it is never better than the proper path obtained by a running maximum.
namespace tessera::quant {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Stored moments are good to 1e-16 of the total; a path adds up K costs. Nothing that close to the
// bound is dropped, and no search goes on for less.
constexpr double kRounding = 1e-15;
constexpr double kFirstLoss = 0.3, kLossRatio = 1.0 / 16;  // of the known error
constexpr int kLloydRounds = 30;
constexpr std::size_t kSplitToEnd = 1 << 12;  // so few positions: no further rounds
constexpr std::size_t kTwoThreads = 1 << 15;  // nodes for which two threads pay

struct Block {
  std::uint32_t lo, hi;  // positions, both included
  double loss;
  Moments below;  // moments below the middle position

  std::uint32_t middle() const { return lo + (hi - lo) / 2; }
};

// The blocks that may hold one boundary, and the least bounds of the boundaries up to it, its loss
// included, and of all that follows.
struct Layer {
  std::vector<std::uint32_t> blocks;  // places in the grid, ascending
  std::vector<double> forward, backward;
};

double cost(const Moments& begin, const Moments& end) {
  const double mass = end.mass - begin.mass;
  if (!(mass > 0)) return 0;
  const double sum = end.sum - begin.sum;
  return std::max(0.0, end.square - begin.square - sum * sum / mass);
}

// best(row) = min over columns of value(row, column), for a matrix with monotone leftmost minima.
template <class Value, class Best>
void monotone_minima(std::size_t row_begin, std::size_t row_end, std::size_t column_begin,
                     std::size_t column_end, const Value& value, const Best& best) {
  while (row_begin < row_end) {
    const std::size_t row = row_begin + (row_end - row_begin) / 2;
    double least = kInfinity;
    std::size_t least_column = column_begin;
    for (std::size_t column = column_begin; column < column_end; ++column) {
      const double candidate = value(row, column);
      if (candidate < least) least = candidate, least_column = column;
    }
    best(row, least);
    monotone_minima(row_begin, row, column_begin, least_column + 1, value, best);
    row_begin = row + 1;
    column_begin = least_column;
  }
}

void step_forward(const std::vector<Block>& grid, const Layer& from, Layer& to) {
  to.forward.resize(to.blocks.size());
  monotone_minima(
      0, to.blocks.size(), 0, from.blocks.size(),
      [&](std::size_t b, std::size_t a) {
        return from.forward[a] + cost(grid[from.blocks[a]].below, grid[to.blocks[b]].below);
      },
      [&](std::size_t b, double least) { to.forward[b] = least - grid[to.blocks[b]].loss; });
}

void step_backward(const std::vector<Block>& grid, const Layer& from, Layer& to) {
  to.backward.resize(to.blocks.size());
  monotone_minima(
      0, to.blocks.size(), 0, from.blocks.size(),
      [&](std::size_t a, std::size_t b) {
        const Block& next = grid[from.blocks[b]];
        return from.backward[b] - next.loss + cost(grid[to.blocks[a]].below, next.below);
      },
      [&](std::size_t a, double least) { to.backward[a] = least; });
}

std::vector<std::size_t> running_maximum(std::vector<std::size_t> bounds) {
  std::partial_sum(bounds.begin(), bounds.end(), bounds.begin(),
                   [](std::size_t a, std::size_t b) { return std::max(a, b); });
  return bounds;
}

class Search {
 public:
  Search(const SortedWeights& weights, std::size_t k, std::span<const float> start,
         KmeansOptions options)
      : weights_(weights),
        k_(k),
        slack_(kRounding * static_cast<double>(k + 8) * weights.total().spread()),
        reach_(weights, 16 * k),
        max_nodes_(options.max_nodes),
        layers_(k + 1) {
    const std::size_t fewer = std::max<std::size_t>(1, 2 * k / 3);
    fewer_upper_ = lloyd(weights, reach_.spread_entries(fewer), fewer, kLloydRounds).error;
    improve(reach_.spread_entries(k));
    if (!start.empty()) improve({start.begin(), start.end()});
  }

  // The optimal boundaries, first and last position included.
  std::vector<std::size_t> solve(KmeansStats& stats) {
    const auto n = static_cast<std::uint32_t>(weights_.size());
    grid_ = {{0, 0, 0, {}}, {1, n - 1, kInfinity, {}}, {n, n, 0, weights_.total()}};
    for (Layer& layer : layers_) layer.blocks = {1};
    layers_.front() = {{0}, {0.0}, {0.0}};
    layers_.back() = {{2}, {0.0}, {0.0}};
    for (double loss = kFirstLoss; upper_ - lower_ > slack_; loss *= kLossRatio) {
      if (split(loss * upper_ / static_cast<double>(k_)) > max_nodes_) {
        stats.linear_memory = true;
        return solve_in_linear_memory();
      }
      for (const Layer& layer : layers_) stats.nodes += layer.blocks.size();
      run_layers();
      const std::vector<std::size_t> path = best_path();
      if (grid_is_single_) return path;
      lower_ = std::max(lower_, layers_.back().forward.front());
      improve(cell_means(weights_, path));
      drop();
    }
    return known_;
  }

 private:
  void improve(std::vector<float> entries) {
    Cells cells = lloyd(weights_, std::move(entries), k_, kLloydRounds);
    if (cells.error < upper_) upper_ = cells.error, known_ = std::move(cells.bounds);
    const std::size_t fewer = std::max<std::size_t>(1, 2 * k_ / 3);
    reach_.limit_gain((fewer_upper_ - lower_ + slack_) / static_cast<double>(k_ - fewer));
  }

  Block make_block(std::uint32_t lo, std::uint32_t hi) const {
    Block block{lo, hi, 0, {}};
    block.below = weights_.before(block.middle());
    if (lo == hi) return block;
    const double apart = reach_.greatest_mean_after(hi) - reach_.least_mean_before(lo);
    const auto distance = [&](std::uint32_t i, const Moments& part) {  // sum h |w - x[i]|
      return std::abs(part.sum - (weights_[i] - weights_.centre()) * part.mass);
    };
    const double most = std::max(distance(hi, weights_.before(hi) - block.below),
                                 distance(lo - 1, block.below - weights_.before(lo)));
    block.loss = 2 * std::max(0.0, apart) * most;
    return block;
  }

  // Appends the parts of a block whose losses do not exceed the limit.
  void split_block(const Block& block, double limit, std::vector<Block>& grid) const {
    if (block.lo == block.hi) {
      // A boundary between equal weights is never better than one beside them.
      const bool useful = block.lo == 0 || block.lo == weights_.size() ||
                          weights_[block.lo - 1] < weights_[block.lo];
      if (useful) grid.push_back(block);
      return;
    }
    if (block.loss <= limit) {
      grid.push_back(block);
      return;
    }
    const std::uint32_t middle = block.middle();
    split_block(make_block(block.lo, middle), limit, grid);
    split_block(make_block(middle + 1, block.hi), limit, grid);
  }

  // Refines the grid and the layers; to single positions where few are left. Returns the number of
  // nodes of all layers, or more than max_nodes_ without refining anything but the grid.
  std::size_t split(double limit) {
    std::vector<char> used(grid_.size(), 0);
    for (const Layer& layer : layers_) {
      for (const std::uint32_t b : layer.blocks) used[b] = 1;
    }
    std::size_t positions = 0;
    for (const Layer& layer : layers_) {
      for (const std::uint32_t b : layer.blocks) positions += grid_[b].hi - grid_[b].lo + 1;
    }
    if (positions <= kSplitToEnd) limit = -1;
    std::vector<Block> grid;
    std::vector<std::uint32_t> starts;
    for (std::size_t b = 0; b < grid_.size(); ++b) {
      starts.push_back(static_cast<std::uint32_t>(grid.size()));
      if (used[b]) split_block(grid_[b], limit, grid);
    }
    starts.push_back(static_cast<std::uint32_t>(grid.size()));
    std::size_t count = 0;
    for (const Layer& layer : layers_) {
      for (const std::uint32_t b : layer.blocks) count += starts[b + 1] - starts[b];
    }
    if (count > max_nodes_) return count;
    for (Layer& layer : layers_) {
      std::vector<std::uint32_t> blocks;
      for (const std::uint32_t b : layer.blocks) {
        for (std::uint32_t part = starts[b]; part < starts[b + 1]; ++part) blocks.push_back(part);
      }
      TESSERA_ASSERT(!blocks.empty());
      layer.blocks = std::move(blocks);
    }
    grid_ = std::move(grid);
    grid_is_single_ = std::all_of(grid_.begin(), grid_.end(),
                                  [](const Block& block) { return block.lo == block.hi; });
    return count;
  }

  void run_layers() {
    std::size_t count = 0;
    for (const Layer& layer : layers_) count += layer.blocks.size();
    const auto direction = [&](std::int64_t backward) {
      for (std::size_t j = 1; j <= k_; ++j) {
        if (backward) {
          step_backward(grid_, layers_[k_ - j + 1], layers_[k_ - j]);
        } else {
          step_forward(grid_, layers_[j - 1], layers_[j]);
        }
      }
    };
    if (grid_is_single_) {
      direction(0);
    } else if (count >= kTwoThreads) {
      parallel_parts(2, direction);
    } else {
      direction(0), direction(1);
    }
  }

  // The path of least bound, as the middle positions of its blocks.
  std::vector<std::size_t> best_path() const {
    std::vector<std::size_t> bounds(k_ + 1, weights_.size());
    std::uint32_t next = layers_.back().blocks.front();
    for (std::size_t j = k_; j-- > 0;) {
      const Layer& layer = layers_[j];
      double least = kInfinity;
      std::uint32_t best = layer.blocks.front();
      for (std::size_t a = 0; a < layer.blocks.size(); ++a) {
        const Block& block = grid_[layer.blocks[a]];
        const double candidate = layer.forward[a] + cost(block.below, grid_[next].below);
        if (candidate < least) least = candidate, best = layer.blocks[a];
      }
      next = best;
      bounds[j] = grid_[best].middle();
    }
    return running_maximum(std::move(bounds));
  }

  // Keeps the blocks whose bound does not exceed the known error.
  void drop() {
    const double limit = upper_ + slack_;
    for (std::size_t j = 1; j < k_; ++j) {
      Layer& layer = layers_[j];
      std::size_t kept = 0;
      for (std::size_t b = 0; b < layer.blocks.size(); ++b) {
        if (layer.forward[b] + layer.backward[b] <= limit) layer.blocks[kept++] = layer.blocks[b];
      }
      TESSERA_ASSERT(kept > 0);
      layer.blocks.resize(kept);
    }
  }

  // Hirschberg 1975: forward to the middle layer, backward to it, fix the best position there,
  // then both halves alone. Two layers of single positions exist at a time.
  std::vector<std::size_t> solve_in_linear_memory() {
    std::vector<std::size_t> bounds(k_ + 1, 0);
    bounds[k_] = weights_.size();
    solve_between(0, k_, bounds);
    return running_maximum(std::move(bounds));
  }

  void solve_between(std::size_t first, std::size_t last, std::vector<std::size_t>& bounds) const {
    if (last - first < 2) return;
    const std::size_t middle = first + (last - first) / 2;
    const std::vector<Block> singles = single_positions(first, last, bounds);
    const auto layer_of = [&](std::size_t j) {
      Layer layer;
      std::size_t b = 0;
      for (std::uint32_t s = 0; s < singles.size(); ++s) {
        const std::uint32_t p = singles[s].lo;
        const auto& blocks = layers_[j].blocks;
        while (b < blocks.size() && grid_[blocks[b]].hi < p) ++b;
        // The ends are allowed everywhere: an empty cluster keeps the search feasible.
        const bool end = p == bounds[first] || p == bounds[last];
        if (end || (b < blocks.size() && grid_[blocks[b]].lo <= p)) layer.blocks.push_back(s);
      }
      return layer;
    };
    Layer left{{0}, {0.0}, {}};
    for (std::size_t j = first + 1; j <= middle; ++j) {
      Layer next = layer_of(j);
      step_forward(singles, left, next);
      left = std::move(next);
    }
    Layer right{{static_cast<std::uint32_t>(singles.size() - 1)}, {}, {0.0}};
    for (std::size_t j = last; --j >= middle;) {
      Layer next = layer_of(j);
      step_backward(singles, right, next);
      right = std::move(next);
    }
    double least = kInfinity;
    bounds[middle] = bounds[first];
    for (std::size_t b = 0; b < left.blocks.size(); ++b) {
      const double candidate = left.forward[b] + right.backward[b];
      if (candidate < least) least = candidate, bounds[middle] = singles[left.blocks[b]].lo;
    }
    left = right = {};
    solve_between(first, middle, bounds);
    solve_between(middle, last, bounds);
  }

  // All positions that any of the layers between two fixed boundaries can take, and those two.
  std::vector<Block> single_positions(std::size_t first, std::size_t last,
                                      const std::vector<std::size_t>& bounds) const {
    std::vector<char> used(grid_.size(), 0);
    for (std::size_t j = first + 1; j < last; ++j) {
      for (const std::uint32_t b : layers_[j].blocks) used[b] = 1;
    }
    const auto begin = static_cast<std::uint32_t>(bounds[first]);
    const auto end = static_cast<std::uint32_t>(bounds[last]);
    const auto single = [&](std::uint32_t p) { return Block{p, p, 0, weights_.before(p)}; };
    std::vector<Block> singles{single(begin)};
    for (std::size_t b = 0; b < grid_.size(); ++b) {
      if (!used[b]) continue;
      const std::uint32_t stop = std::min(grid_[b].hi + 1, end);
      for (std::uint32_t p = std::max(grid_[b].lo, begin + 1); p < stop; ++p) {
        if (weights_[p - 1] < weights_[p]) singles.push_back(single(p));
      }
    }
    if (end > begin) singles.push_back(single(end));
    return singles;
  }

  const SortedWeights& weights_;
  const std::size_t k_;
  const double slack_;
  ClusterReach reach_;
  const std::size_t max_nodes_;
  std::vector<Block> grid_;    // disjoint, ascending
  std::vector<Layer> layers_;  // boundary 0 and K are fixed
  bool grid_is_single_ = false;
  double lower_ = 0, upper_ = kInfinity;  // of the optimum's error
  std::vector<std::size_t> known_;        // cells with error upper_
  double fewer_upper_ = kInfinity;        // error of a codebook of two thirds of the entries
};

}  // namespace

std::vector<float> exact_kmeans(const SortedWeights& weights, std::size_t k,
                                std::span<const float> start, KmeansOptions options,
                                KmeansStats* stats) {
  TESSERA_ASSERT(k >= 1 && k <= 256 && weights.size() <= 0xffffffffu);
  std::vector<float> distinct = weights.distinct(k + 1);
  if (distinct.size() <= k) return distinct;
  if (k == 1) return cell_means(weights, std::vector<std::size_t>{0, weights.size()});
  KmeansStats own_stats;
  const std::vector<std::size_t> bounds =
      Search(weights, k, start, options).solve(stats ? *stats : own_stats);
  // Rounding entries to f32 can move a weight across a midpoint; Lloyd keeps the better side.
  return lloyd(weights, cell_means(weights, bounds), k).entries;
}

}  // namespace tessera::quant
