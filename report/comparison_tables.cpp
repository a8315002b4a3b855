#include "report/comparison_tables.h"

#include "core/text.h"
#include "report/machines.h"
#include "report/table.h"
#include "report/terminal.h"
#include "timing/latency.h"

namespace tessera::experiment {

namespace {

std::string difference(double value, int digits) {
  return (value < 0 ? "" : "+") + fixed(value, digits);
}

std::string result_text(const ComparisonCell& cell, int digits, bool best) {
  if (cell.done.empty()) return cell.failed.empty() ? "-" : "problem";
  std::string out =
      cat(mean_text(cell.results(), digits), " (", difference(mean(cell.rises()), digits), ")");
  if (best) out += " *";
  if (!cell.failed.empty()) out += cat(", ", cell.failed.size(), " failed");
  return out;
}

void print_results(std::ostream& out, const ComparisonGrid& grid) {
  std::vector<std::string> header = {"method", "epochs"};
  for (const Variant& column : grid.columns()) header.push_back(column_title(column));
  Table table(std::move(header));
  for (std::size_t m = 0; m < grid.methods().size(); ++m) {
    const auto epochs = grid.epochs(m);
    std::vector<std::string> row = {grid.methods()[m], !epochs   ? "-"
                                                       : *epochs ? std::to_string(*epochs)
                                                                 : "no training"};
    for (std::size_t c = 0; c < grid.columns().size(); ++c) {
      row.push_back(result_text(grid.cell(m, c), grid.metric().digits, grid.best(c) == m));
    }
    table.add(std::move(row));
  }
  table.print(out);
}

void print_sizes(std::ostream& out, const ComparisonGrid& grid) {
  Table table({"method", "codebook", "bits/w", "entropy", "effective", "weights B", "JSON B",
               "dense us", "packed us", "seconds"},
              2);
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    for (std::size_t m = 0; m < grid.methods().size(); ++m) {
      const ComparisonCell& cell = grid.cell(m, c);
      if (cell.done.empty()) continue;
      const auto of = [&](double Compression::*field, int digits) {
        return fixed(mean(cell.values([=](const Compression& r) { return r.*field; })), digits);
      };
      const auto bytes = [&](std::int64_t Compression::*field) {
        return fixed(mean(cell.values([=](const Compression& r) { return double(r.*field); })), 0);
      };
      table.add(
          {grid.methods()[m], column_title(grid.columns()[c]), of(&Compression::bits_per_weight, 3),
           of(&Compression::entropy_bits, 3), of(&Compression::effective_bits, 3),
           bytes(&Compression::weights_bytes), bytes(&Compression::json_bytes),
           least_text(cell.timing(&Compression::dense_us), 1),
           least_text(cell.timing(&Compression::packed_us), 1), of(&Compression::seconds, 1)});
    }
  }
  table.print(out);
}

}  // namespace

void print_comparison(std::ostream& out, const std::vector<ComparedRun>& runs) {
  const ComparisonGrid grid(runs);
  const auto references = grid.references();
  if (!references.empty()) {
    out << wrapped(
        cat(capitalized(grid.measured_on()), " ", in_units(grid.metric()), ", mean over ",
            references.size(), references.size() == 1 ? " seed" : " seeds +- standard error",
            " (difference to the reference", grid.metric().unit == "%" ? " in points" : "",
            "); * the best method of the "
            "column. Reference: ",
            with_unit(mean_text(references, grid.metric().digits), grid.metric()), ".\n"),
        terminal_columns(out));
  }
  print_results(out, grid);
  out << "\n"
      << wrapped(
             "Sizes and times, means over seeds: bits a coded weight as stored and by entropy; "
             "effective: the file's bits by all numbers of the network; latency at batch 1: the "
             "least of several rounds' medians, over all seeds; seconds of the method.\n",
             terminal_columns(out));
  print_sizes(out, grid);
  std::vector<Machine> machines;
  bool unstable = false;
  for (const ComparedRun& run : runs) {
    if (!run.result) continue;
    unstable = unstable || run.result->dense_us.unstable() || run.result->packed_us.unstable();
    if (run.result->machine) machines.push_back(*run.result->machine);
  }
  if (unstable) out << wrapped(cat(kUnstableNote, ".\n"), terminal_columns(out));
  out << machines_text(machines, terminal_columns(out));
  for (const ComparedRun& run : runs) {
    if (!run.result) {
      out << "PROBLEM " << run.variant.text() << ", seed " << run.seed << ": " << run.problem
          << "\n";
    }
  }
}

}  // namespace tessera::experiment
