// Tables for people.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace tessera::apps {

class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // Columns as wide as their widest cell; those that hold numbers are aligned to the right.
  void print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string fixed(double value, int digits);
// "2.13 +- 0.04"; without the error when there is one value only.
std::string mean_text(const std::vector<double>& values, int digits);
// "Test" of "test".
std::string capitalized(std::string text);
// "1:02:03" or "2:03".
std::string duration_text(double seconds);

}  // namespace tessera::apps
