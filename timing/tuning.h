// Kernels chosen by measurement instead of by rule, remembered.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/select.h"

namespace tessera::experiment {

// Times, on made-up operands and hot caches, the rows that serve a node, and takes another than the
// first only where it needs at most 0.95 of its time, packing of what changes included; rows that
// leave results in another layout than the first does are not taken, whose readers would pay. What
// was measured once, for the same operator, attributes, types, threads and instruction set, is
// taken again without measuring: plans of one Tuning are the same.
class Tuning : public RowChoice {
 public:
  // Begins with what the file remembers, if it is there; "": no file. Throws Error with file and
  // field where it is not such a file, or was measured on another processor.
  explicit Tuning(std::filesystem::path file = {});

  std::size_t choose(const KernelQuery& query, std::span<const RowCandidate> rows) override;
  // Writes the file if something new was measured. Throws Error as write_file does.
  void save();

  // What was chosen otherwise than by rule, in the order of the nodes, of all plans so far.
  struct Change {
    std::string op, node, type, by_rule, taken;
    double rule_us = 0, taken_us = 0;  // 0: remembered
  };
  const std::vector<Change>& changes() const { return changes_; }
  int measured() const { return measured_; }  // nodes, not those that were remembered

 private:
  std::filesystem::path file_;
  std::map<std::string, std::string> rows_;  // by what was asked
  std::vector<Change> changes_;
  int measured_ = 0;
};

}  // namespace tessera::experiment
