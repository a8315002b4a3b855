// Choices that people make by name, as a table: parsing, printing, help and messages walk it.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/text.h"
#include "core/words.h"

namespace tessera {

template <class T>
class Names {
 public:
  struct Row {
    std::string name;
    T value;
  };

  // `what` is chosen, as messages say it: "range restriction".
  Names(std::string what, std::initializer_list<Row> rows) : what_(std::move(what)), rows_(rows) {}

  // Throws Error, naming what there is, for another text.
  T parse(std::string_view text) const {
    for (const Row& row : rows_) {
      if (row.name == text) return row.value;
    }
    fail(what_, " ", quote(text), " is unknown; there are ", listed(words(), " and "));
  }
  // Of a value of the table.
  const std::string& name(T value) const {
    for (const Row& row : rows_) {
      if (row.value == value) return row.name;
    }
    fail("a ", what_, " has no name");
  }
  std::vector<std::string> words() const {
    std::vector<std::string> out;
    for (const Row& row : rows_) out.push_back(row.name);
    return out;
  }
  // "linf|margin|softminmax", of help.
  std::string alternatives() const {
    std::string out;
    for (const Row& row : rows_) out += cat(out.empty() ? "" : "|", row.name);
    return out;
  }

 private:
  std::string what_;
  std::vector<Row> rows_;
};

}  // namespace tessera
