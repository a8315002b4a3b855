// Tables for people.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace tessera::experiment {

class Table {
 public:
  // `keys`: how many of the first columns say what a row is; blocks of a wide table repeat them.
  explicit Table(std::vector<std::string> header, std::size_t keys = 1) : keys_(keys) {
    add(std::move(header));
  }
  // Cells may quote files of others: they are escaped.
  void add(std::vector<std::string> row);
  // Columns as wide as their widest cell; those that hold numbers are aligned to the right. On a
  // terminal (terminal_columns) a wider table is cut into blocks of columns one under another, and
  // a cell that is wider than a block into lines.
  void print(std::ostream& out) const;
  // The same for a width of `columns`; 0: any.
  void print(std::ostream& out, int columns) const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::size_t keys_;
};

// "2.13 +- 0.04"; without the error when there is one value only.
std::string mean_text(const std::vector<double>& values, int digits);
// "1:02:03" or "2:03".
std::string duration_text(double seconds);

}  // namespace tessera::experiment
