// Kernel selection: the row decides. For every node the first row that serves it, or the one that a
// RowChoice takes; where a row wants
// an operand in another arrangement a repack node is placed, and where no row takes codebook
// storage or an image layout a decode node. Nodes without a row are decomposed.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/graph.h"
#include "core/op_def.h"

namespace tessera {

struct Selected {
  std::string kernel;  // row name, or "pack <layout>" for a repack node
  KernelPlan plan;
  std::vector<std::string> refusals;  // "row: reason", for the better rows
  int threads = 1;                    // that the step may use
};

// A row that serves a node, prepared for it.
struct RowCandidate {
  const KernelRow* row;
  KernelPlan plan;
};

// Chooses otherwise than by the order of the rows.
class RowChoice {
 public:
  virtual ~RowChoice() = default;
  // Which of `rows`, those that serve the query in their order, computes the node. Asked for every
  // node that rows serve.
  virtual std::size_t choose(const KernelQuery& query, std::span<const RowCandidate> rows) = 0;
};

struct SelectOptions {
  CpuFeatures features;
  int threads = 1;
  bool packed_only = false;  // a whole-tensor decode is an error
  bool bf16 = false;         // convolutions may compute in bf16
  bool int8 = false;         // products with codebook weights may compute in integers
  Communicator* communicator = nullptr;
  RowChoice* choice = nullptr;  // CompileOptions::choice
};

struct Selection {
  Graph graph;
  std::map<const Node*, Selected> kernels;  // every node that computes something
  // "op 'name': bytes" of each whole-tensor decode, and of other storage that becomes dense.
  std::vector<std::string> decoded;
};

// Throws Error when an op has neither a row nor a decomposition, or when packed_only is broken.
// TESSERA_VERBOSE=select prints each choice and why better rows were refused.
Selection select_kernels(const Graph& graph, const SelectOptions& options);

// Which nodes keep their value between steps: those that derive only from constants and from states
// the graph does not update. Works on a graph that is still growing.
class FixedNodes {
 public:
  // `graph` tells what is updated; the nodes asked for may be of any one graph derived from it.
  explicit FixedNodes(const Graph& graph);
  bool operator()(const Node& node);

 private:
  std::set<std::string> updated_;
  std::vector<bool> known_;  // by node id
};

}  // namespace tessera
