// The tables of a report that tell bytes and times.
#include <algorithm>

#include "core/text.h"
#include "report/html/html.h"
#include "report/html/sections.h"
#include "report/table.h"
#include "timing/statistics.h"

namespace tessera::experiment {

namespace {

// Of a tensor's bytes; the kinds in the order of this list.
struct Kind {
  const char* name;
  std::int64_t TensorSize::*bytes;
  int color;
};
constexpr Kind kKinds[] = {{"indices", &TensorSize::index_bytes, 0},
                           {"codebooks", &TensorSize::codebook_bytes, 1},
                           {"scales", &TensorSize::scale_bytes, 4},
                           {"sparse", &TensorSize::sparse_bytes, 3},
                           {"dense", &TensorSize::dense_bytes, 2}};

// Tensors that have a row of their own: the others of a deep network, most of them biases and
// statistics, share one.
constexpr std::size_t kFewTensors = 12;
constexpr double kLeastShare = 0.005;

// "35,627"
std::string grouped(double value) {
  std::string text = fixed(value, 0);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}
std::string grouped(std::int64_t value) {
  return grouped(static_cast<double>(value));
}

std::string time_cell(const Timing& us) {
  return cat(fixed(us.least, 1), us.unstable() ? "~" : "", " <span class=\"soft\">(",
             fixed(us.median, 1), ")</span>");
}

void add(TensorSize& to, const TensorSize& from) {
  to.weights += from.weights;
  for (const Kind& kind : kKinds) to.*kind.bytes += from.*kind.bytes;
}

// Parts of the bytes side by side, as wide as the tensor's share of the largest.
std::string parts_bar(const TensorSize& t, std::int64_t largest) {
  std::string out =
      "<svg viewBox=\"0 0 150 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">";
  double x = 0;
  for (const Kind& kind : kKinds) {
    const double width = 150 * static_cast<double>(t.*kind.bytes) /
                         static_cast<double>(std::max<std::int64_t>(largest, 1));
    if (t.*kind.bytes == 0) continue;
    out += cat("<rect class=\"f", kind.color, "\" x=\"", place(x), "\" width=\"",
               place(std::max(width, 0.3)), "\" height=\"10\"/>");
    x += width;
  }
  return out + "</svg>";
}

std::string parts_key(const std::vector<Kind>& kinds) {
  std::string out = "<div class=\"legend\">";
  for (const Kind& kind : kinds) {
    out +=
        cat("<span><svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><rect class=\"f",
            kind.color, "\" width=\"12\" height=\"12\"/></svg>", kind.name, "</span>");
  }
  return out + "</div>";
}

// The small ones of many in one, behind the others.
std::vector<TensorSize> in_rows(const std::vector<TensorSize>& tensors, const TensorSize& total) {
  if (tensors.size() <= kFewTensors) return tensors;
  std::vector<TensorSize> out;
  TensorSize rest;
  int small = 0;
  for (const TensorSize& t : tensors) {
    if (static_cast<double>(t.bytes()) >= kLeastShare * static_cast<double>(total.bytes())) {
      out.push_back(t);
    } else {
      add(rest, t);
      ++small;
    }
  }
  rest.name = cat(small, " others, each below ", fixed(100 * kLeastShare, 1), " %");
  if (small > 0) out.push_back(std::move(rest));
  return out;
}

std::string tensor_table(const Compression& run) {
  TensorSize total;
  for (const TensorSize& t : run.tensors) add(total, t);
  total.name = "all";
  std::vector<Kind> kinds;
  for (const Kind& kind : kKinds) {
    if (total.*kind.bytes > 0) kinds.push_back(kind);
  }
  HtmlTable table;
  table.left = 3;
  table.header = {"tensor", "shape", "stored as", "numbers"};
  for (const Kind& kind : kinds) table.header.push_back(kind.name);
  table.header.insert(table.header.end(), {"bytes", "bits/number", "share"});
  const auto rows = in_rows(run.tensors, total);
  std::int64_t largest = 0;
  for (const TensorSize& t : rows) largest = std::max(largest, t.bytes());
  const auto row = [&](const TensorSize& t, bool bar) {
    std::vector<std::string> cells = {escaped(t.name), escaped(t.shape), escaped(t.encoding),
                                      grouped(t.weights)};
    for (const Kind& kind : kinds) cells.push_back(grouped(t.*kind.bytes));
    cells.push_back(grouped(t.bytes()));
    cells.push_back(
        t.weights == 0
            ? "&#8211;"
            : fixed(8 * static_cast<double>(t.bytes()) / static_cast<double>(t.weights), 3));
    const double share = 100 * static_cast<double>(t.bytes()) /
                         static_cast<double>(std::max<std::int64_t>(total.bytes(), 1));
    cells.push_back(fixed(share, 1) + " %" + (bar ? parts_bar(t, largest) : ""));
    return cells;
  };
  for (const TensorSize& t : rows) table.rows.push_back(row(t, true));
  table.last.push_back(row(total, false));
  return parts_key(kinds) + table.html();
}

}  // namespace

std::string size_table(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  HtmlTable table;
  table.caption =
      "Means over seeds. Bits a coded weight as stored, and by the entropy of its codes; "
      "effective: bits of the weights' file by all numbers of the network. Latency at batch 1: "
      "the least of several rounds' medians over all seeds, in brackets their median.";
  table.left = 2;
  table.header = {"codebook",       "method",          "bits/weight", "entropy, bits",
                  "effective bits", "file, bytes",     "JSON, bytes", "smaller by",
                  "dense, &#181;s", "packed, &#181;s", "training, s"};
  bool unstable = false;
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    for (std::size_t m = 0; m < grid.methods().size(); ++m) {
      const ComparisonCell& cell = grid.cell(m, c);
      if (cell.done.empty()) continue;
      const auto of = [&](auto&& field) { return mean(cell.values(field)); };
      using C = const Compression&;
      const Timing dense = cell.timing(&Compression::dense_us),
                   packed = cell.timing(&Compression::packed_us);
      unstable = unstable || dense.unstable() || packed.unstable();
      table.rows.push_back({escaped(column_title(grid.columns()[c])), escaped(grid.methods()[m]),
                            fixed(of([](C r) { return r.bits_per_weight; }), 3),
                            fixed(of([](C r) { return r.entropy_bits; }), 3),
                            fixed(of([](C r) { return r.effective_bits; }), 3),
                            grouped(of([](C r) { return static_cast<double>(r.weights_bytes); })),
                            grouped(of([](C r) { return static_cast<double>(r.json_bytes); })),
                            fixed(of([](C r) { return r.ratio; }), 1) + "&#215;", time_cell(dense),
                            time_cell(packed), fixed(of([](C r) { return r.seconds; }), 1)});
    }
  }
  if (unstable) {
    table.note =
        "~ unstable: the slowest tenth of a round, or of another seed's, took more than 1.5 times "
        "the least.";
  }
  return table.rows.empty() ? "" : table.html();
}

std::string tensor_tables(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  std::string out;
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    const ComparedRun* run = nullptr;
    for (std::size_t m = 0; m < grid.methods().size(); ++m) {
      const ComparisonCell& cell = grid.cell(m, c);
      if (cell.done.empty() || (run && grid.best(c) != m)) continue;
      run = cell.done.front();
    }
    if (!run || run->result->tensors.empty()) continue;
    out += cat("<details", out.empty() ? " open=\"open\"" : "", "><summary><b>",
               escaped(column_title(grid.columns()[c])), "</b>, ", escaped(run->variant.method),
               ", seed ", run->seed, " <span class=\"soft\">", grouped(run->result->weights_bytes),
               " bytes</span></summary><div>", tensor_table(*run->result), "</div></details>\n");
  }
  return out;
}

}  // namespace tessera::experiment
