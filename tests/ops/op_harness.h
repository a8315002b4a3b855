// Runs one kernel row of one op on given values, without the compiler.
#pragma once

#include <vector>

#include "core/interpret.h"
#include "core/op_def.h"
#include "core/tensor.h"

namespace tessera::test {

// A node on fresh leaves, with the values of its inputs.
struct Case {
  Graph graph;
  const Node* node = nullptr;
  std::vector<RefTensor> inputs;            // logical elements; empty where absent
  std::vector<std::vector<Tensor>> planes;  // as stored
  std::vector<const RefTensor*> input_pointers() const;
  std::vector<RefTensor> reference() const { return interpret_node(*node, input_pointers()); }
};

// Draws the values of a sample. Codebook operands get random planes behind a codebook node.
Case make_case(const OpDef& op, const Sample& sample, Rng& rng);

// Replaces the stored values of a dense input.
void set_input(Case& c, int i, std::vector<double> values);

struct RowRun {
  std::string refusal;  // why the row did not run, "" when it did
  KernelPlan plan;      // of a row that ran
  std::vector<Tensor> outputs;
};

struct RowOptions {
  // Output o uses the buffer of (a copy of) input alias[o], where that is not -1.
  std::vector<int> alias = {};
  bool fixed = false;   // what the query says of all inputs
  bool rounds = false;  // what the query says of rounding operands, to bf16 and to bytes
};

// Prepares and runs the row.
RowRun run_row(const Case& c, const KernelRow& row, const RowOptions& options = {});

// The sample with the op's encodable operands kept in each of some codebook formats that fit.
std::vector<Sample> encoded_variants(const OpDef& op, const Sample& sample);

// Whether the row's features are active in this process.
bool runs_here(const KernelRow& row);

}  // namespace tessera::test
