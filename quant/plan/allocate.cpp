#include "quant/plan/allocate.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iomanip>
#include <optional>
#include <sstream>

namespace tessera::quant {

namespace {

// A step along the lower convex hull of one tensor's candidates.
struct Edge {
  std::size_t tensor, to;  // the candidate it leads to
  std::int64_t bytes;      // more than before, > 0
  double gain;             // of cost, > 0
  double slope() const { return gain / static_cast<double>(bytes); }
};

// The cheapest of the smallest candidates.
std::size_t smallest(const CandidateTensor& tensor) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < tensor.candidates.size(); ++i) {
    const Candidate &a = tensor.candidates[i], &b = tensor.candidates[best];
    if (a.bytes < b.bytes || (a.bytes == b.bytes && a.cost < b.cost)) best = i;
  }
  return best;
}

// From the smallest candidate always to the one with the steepest fall of cost (the largest of
// equally steep ones): the corners of the lower convex hull, slopes strictly falling.
void add_hull(const CandidateTensor& tensor, std::size_t position, std::vector<Edge>& edges) {
  std::size_t at = smallest(tensor);
  while (true) {
    std::optional<Edge> best;
    for (std::size_t i = 0; i < tensor.candidates.size(); ++i) {
      const Edge edge{position, i, tensor.candidates[i].bytes - tensor.candidates[at].bytes,
                      tensor.candidates[at].cost - tensor.candidates[i].cost};
      if (edge.bytes <= 0 || edge.gain <= 0) continue;
      if (!best || edge.slope() > best->slope() ||
          (edge.slope() == best->slope() && edge.bytes > best->bytes)) {
        best = edge;
      }
    }
    if (!best) return;
    edges.push_back(*best);
    at = best->to;
  }
}

// Edges of all tensors, steepest first: taking the first few is the minimum of cost + lambda bytes
// for every lambda between the slopes of the last taken and the next, so walking along them is
// bisection on lambda without its tolerance. A tensor's own edges stay in their order.
std::vector<Edge> all_edges(const std::vector<CandidateTensor>& tensors) {
  std::vector<Edge> edges;
  for (std::size_t t = 0; t < tensors.size(); ++t) add_hull(tensors[t], t, edges);
  std::stable_sort(edges.begin(), edges.end(),
                   [](const Edge& a, const Edge& b) { return a.slope() > b.slope(); });
  return edges;
}

Allocation smallest(const std::vector<CandidateTensor>& tensors) {
  check(!tensors.empty(), "bit allocation: there are no tensors");
  Allocation out;
  for (const CandidateTensor& tensor : tensors) {
    check(!tensor.candidates.empty(), "bit allocation: '", tensor.name, "' has no candidates");
    for (const Candidate& c : tensor.candidates) {
      check(std::isfinite(c.cost), "bit allocation: the cost of '", tensor.name, "' at ", c.bits,
            " bits is ", c.cost);
    }
    out.chosen.push_back(smallest(tensor));
    out.bytes += tensor.candidates[out.chosen.back()].bytes;
    out.cost += tensor.candidates[out.chosen.back()].cost;
  }
  return out;
}

void take(Allocation& to, const Edge& edge) {
  to.chosen[edge.tensor] = edge.to;
  to.bytes += edge.bytes;
  to.cost -= edge.gain;
}

// The upgrade of one tensor, on its hull or not, that fits and gains most per byte.
std::optional<Edge> best_upgrade(const std::vector<CandidateTensor>& tensors,
                                 const Allocation& from, std::int64_t slack) {
  std::optional<Edge> best;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const auto& candidates = tensors[t].candidates;
    const Candidate& now = candidates[from.chosen[t]];
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const Edge edge{t, i, candidates[i].bytes - now.bytes, now.cost - candidates[i].cost};
      if (edge.bytes <= 0 || edge.bytes > slack || edge.gain <= 0) continue;
      if (!best || edge.slope() > best->slope()) best = edge;
    }
  }
  return best;
}

// A name as a regular expression that matches it alone.
std::string exactly(const std::string& name) {
  std::string out;
  for (const char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') out += '\\';
    out += c;
  }
  return out;
}

std::int64_t weights_of(const std::vector<CandidateTensor>& tensors) {
  std::int64_t n = 0;
  for (const CandidateTensor& t : tensors) n += t.weights;
  return n;
}

}  // namespace

double Allocation::bits_per_weight(const std::vector<CandidateTensor>& tensors) const {
  return 8.0 * static_cast<double>(bytes) / static_cast<double>(weights_of(tensors));
}

Allocation allocate(const std::vector<CandidateTensor>& tensors, std::int64_t budget_bytes) {
  Allocation out = smallest(tensors);
  check(out.bytes <= budget_bytes, "bit allocation: ", budget_bytes, " bytes (",
        8.0 * static_cast<double>(budget_bytes) / static_cast<double>(weights_of(tensors)),
        " bits a weight) are too few; the smallest codebooks take ", out.bytes, " (",
        out.bits_per_weight(tensors), ")");
  double lambda = 0;
  for (const Edge& edge : all_edges(tensors)) {
    if (out.bytes + edge.bytes > budget_bytes) {
      lambda = edge.slope();
      break;
    }
    take(out, edge);
  }
  const double corner = out.cost;
  out.least_cost = corner - lambda * static_cast<double>(budget_bytes - out.bytes);
  while (const auto edge = best_upgrade(tensors, out, budget_bytes - out.bytes)) take(out, *edge);
  return out;
}

std::vector<Allocation> pareto(const std::vector<CandidateTensor>& tensors) {
  std::vector<Allocation> out = {smallest(tensors)};
  out.back().least_cost = out.back().cost;
  for (const Edge& edge : all_edges(tensors)) {
    out.push_back(out.back());
    take(out.back(), edge);
    out.back().least_cost = out.back().cost;
  }
  return out;
}

std::vector<PolicyRule> rules(const std::vector<CandidateTensor>& tensors,
                              const Allocation& allocation) {
  std::vector<PolicyRule> out;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    out.push_back({exactly(tensors[t].name), tensors[t].candidates[allocation.chosen[t]].choice});
  }
  return out;
}

std::string text(const std::vector<CandidateTensor>& tensors, const Allocation& allocation) {
  std::size_t width = 16;
  for (const CandidateTensor& t : tensors) width = std::max(width, t.name.size() + 2);
  std::ostringstream out;
  const auto row = [&](const auto& name, const auto& weights, const auto& bits, const auto& cost,
                       const auto& bytes) {
    out << "  " << std::left << std::setw(static_cast<int>(width)) << name << std::right
        << std::setw(10) << weights << std::setw(7) << bits << std::setw(14) << cost
        << std::setw(10) << bytes << "\n";
  };
  row("tensor", "weights", "bits", "sensitivity", "bytes");
  out << std::setprecision(4);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const Candidate& c = tensors[t].candidates[allocation.chosen[t]];
    row(tensors[t].name, tensors[t].weights, c.bits, c.cost, c.bytes);
  }
  row("together", weights_of(tensors), cat(allocation.bits_per_weight(tensors)).substr(0, 5),
      allocation.cost, allocation.bytes);
  return out.str();
}

}  // namespace tessera::quant
