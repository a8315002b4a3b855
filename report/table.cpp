#include "report/table.h"

#include <algorithm>
#include <cstdio>

#include "core/text.h"
#include "report/terminal.h"
#include "timing/statistics.h"

namespace tessera::experiment {

namespace {

using Rows = std::vector<std::vector<std::string>>;

constexpr std::size_t kGap = 2, kLeast = 8;  // between columns; of a column that is cut

struct Column {
  std::size_t place = 0, width = 0;
  bool number = true;  // all cells are numbers
};

std::vector<Column> columns_of(const Rows& rows) {
  std::vector<Column> columns(rows.front().size());
  for (std::size_t c = 0; c < columns.size(); ++c) {
    columns[c].place = c;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const std::string& cell = rows[r][c];
      columns[c].width = std::max(columns[c].width, cell.size());
      if (r > 0 && !cell.empty() && cell != "-") {
        columns[c].number = columns[c].number &&
                            std::string_view("+-.0123456789").find(cell[0]) != std::string::npos;
      }
    }
  }
  return columns;
}

std::size_t width_of(const std::vector<Column>& columns) {
  std::size_t width = 0;
  for (const Column& column : columns) width += column.width + kGap;
  return width - std::min(width, kGap);
}

// The begin of `text` that fits, cut behind a space or a sign where there is one; never empty.
std::string take_line(std::string& text, std::size_t width) {
  std::size_t length = std::min(text.size(), width);
  if (length < text.size()) {
    const std::size_t cut = text.find_last_of(" +/,;", width - 1);
    if (cut != text.npos && cut > 0) length = cut + 1;
  }
  std::string line = text.substr(0, length);
  text.erase(0, length);
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

void print_row(std::ostream& out, const std::vector<Column>& columns,
               std::vector<std::string> cells) {
  bool more = true;
  while (more) {
    more = false;
    std::string line;
    for (const Column& column : columns) {
      std::string& cell = cells[column.place];
      const std::string part = take_line(cell, column.width);
      const std::string space(column.width - part.size(), ' ');
      line += (column.number ? space + part : part + space) + std::string(kGap, ' ');
      more = more || !cell.empty();
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << "\n";
  }
}

}  // namespace

void Table::add(std::vector<std::string> row) {
  for (std::string& cell : row) cell = escaped(cell);
  rows_.push_back(std::move(row));
}

void Table::print(std::ostream& out) const {
  print(out, terminal_columns(out));
}

void Table::print(std::ostream& out, int columns) const {
  const std::vector<Column> all = columns_of(rows_);
  const std::size_t limit = columns > 0 ? static_cast<std::size_t>(columns) : width_of(all);
  std::vector<Column> keys;
  if (width_of(all) > limit) {
    // Keys that leave no room for what they stand before are columns like others.
    keys.assign(all.begin(),
                all.begin() + static_cast<std::ptrdiff_t>(std::min(keys_, all.size())));
    while (!keys.empty() && width_of(keys) > limit / 2) keys.pop_back();
  }
  std::size_t next = keys.size();
  for (bool first = true; first || next < all.size(); first = false) {
    std::vector<Column> block = keys;
    while (next < all.size()) {
      block.push_back(all[next]);
      if (width_of(block) > limit) {
        if (block.size() > keys.size() + 1) {
          block.pop_back();
          break;
        }
        const std::size_t taken = width_of(keys) + (keys.empty() ? 0 : kGap);
        block.back().width = std::max(kLeast, limit - std::min(limit, taken));
      }
      ++next;
    }
    if (!first) out << "\n";
    for (const auto& row : rows_) print_row(out, block, row);
  }
}

std::string mean_text(const std::vector<double>& values, int digits) {
  const std::string text = fixed(mean(values), digits);
  return values.size() < 2 ? text : text + " +- " + fixed(standard_error(values), digits);
}

std::string duration_text(double seconds) {
  const auto s = static_cast<long long>(std::max(seconds, 0.0) + 0.5);
  char buffer[64];
  if (s >= 3600) {
    std::snprintf(buffer, sizeof(buffer), "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
  } else {
    std::snprintf(buffer, sizeof(buffer), "%lld:%02lld", s / 60, s % 60);
  }
  return buffer;
}

}  // namespace tessera::experiment
