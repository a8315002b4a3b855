// The walk over a graph: what each of its values is called in the ONNX file, and what an operator
// becomes there.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"
#include "core/model.h"
#include "onnx/export.h"
#include "onnx/export/writer.h"

namespace tessera::onnx {

struct Affine;

class Exporter {
 public:
  Exporter(const Model& model, const ExportOptions& options);
  Exported run();

  // ---- for the operators ----
  GraphWriter& out() { return writer_; }
  const Model& model() const { return model_; }
  // The name of a value as an operand: params and codebooks are written when they are first read.
  std::string operand(Value value);
  std::string in(const Node& node, int i) { return operand(node.input(i)); }
  void set(Value value, std::string name) { names_[{value.node, value.index}] = std::move(name); }
  // How many nodes and outputs read it.
  int uses(Value value) const;
  // A shape as an operand: -1 for the batch where Reshape finds it out, else its size at run time.
  std::string reshape_to(const Shape& shape);
  std::string shape_at_run_time(const Shape& shape);
  // A node that another one has written on the way.
  void skip(const Node& node) { skipped_.insert(&node); }
  // The tensor of a param or state; Error for another value.
  const Tensor& tensor(Value leaf) const;
  bool is_leaf(Value value) const;
  // A codebook weight; nullptr for another value.
  const Node* codebook(Value value) const;
  // A weight with its axes in another order and its rows in another order, as an operand: written
  // as the codebook that it is, or as f32. `rows`: which row of ours is which of theirs; none: as
  // they are.
  std::string weight(Value value, bool transposed = false, const Ints& rows = {},
                     const Ints& shape = {});

 private:
  std::string name(Value value);
  void leaf(const Node& node);
  std::string constant(const Node& node);
  Tensor decoded(const Node& codebook) const;
  std::string write_affine(const std::string& name, const Tensor& indices, const Affine& affine,
                           const CodebookFormat& format, const Node& node, bool transposed,
                           const Ints& rows, const Ints& written);
  Affine fitted(const Node& codebook, int bits) const;
  std::string write_looked_up(const std::string& name, const Node& node, bool transposed,
                              const Ints& rows, const Ints& written);

  const Model& model_;
  ExportOptions options_;
  Graph graph_;  // the live part
  GraphWriter writer_;
  Exported result_;
  std::map<std::pair<const Node*, int>, std::string> names_;
  std::map<std::pair<const Node*, int>, int> uses_;
  std::set<const Node*> skipped_, written_;
  std::map<std::string, std::string> weights_;  // of codebooks, by form
  std::map<int, std::string> byte_tables_;      // by bits
  std::string batch_;
};

// Operators one by one (operators.cpp).
bool knows(const Node& node);
void write_node(Exporter& e, const Node& node);
// Several nodes that are one operator of ONNX, by the last of them (joint.cpp): is_joint() skips
// the others.
bool is_joint(Exporter& e, const Node& node);
void write_joint(Exporter& e, const Node& node);
AttributeWriter conv_attributes(const Node& node);  // of a convolution, or its gradient to x
void write_lstm(Exporter& e, const Node& node);     // lstm.cpp
void skip_product(Exporter& e, const Node& scan);   // what it makes itself

// A codebook as ONNX has it, or not (affine.cpp).
struct Affine {
  int bits = 0;             // 2, 4 or 8; 0: the entries are no multiples of one step
  std::vector<float> step;  // of each group
  std::vector<int> zero;    // of each group
  std::vector<int> level;   // [groups][k * length], of each number of an entry: what is stored
  double error = 0;         // ||w - written|| / ||w||
};
// Of entries [groups, k] or [groups, k, length] that are multiples of a step.
Affine affine_of(const Tensor& entries);
// The nearest steps and zero points with integers of `bits`, by how often each number of an entry
// occurs ([groups][k * length]).
Affine nearest_affine(const Tensor& entries, std::span<const double> counts, int bits);
// Bits of the integers that a codebook without steps is fitted with; 0: it is not.
int fitted_bits(const CodebookFormat& format, const ExportOptions& options);
ElementType unsigned_of(int bits);

}  // namespace tessera::onnx
