// Where a graph's values are while it is written as C: arguments, constant arrays, places in the
// scratch. Operators (c_ops.h) ask it for them and write lines.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "codegen/c_source.h"
#include "core/graph.h"
#include "core/program.h"
#include "core/select.h"

namespace tessera {

class CWriter {
 public:
  // `graph` has bound shapes and went through the passes; `state` has its parameters. Both must
  // outlive the writer. `inputs` are the network's, by name, of which the graph may have lost some
  // that nothing depends on. Names of arrays begin with `prefix`.
  using Inputs = std::vector<std::pair<std::string, TensorType>>;
  CWriter(const Graph& graph, const State& state, const Inputs& inputs, const std::string& prefix);

  // ---- what operators use ----

  // The C expression of the elements of a dense value.
  std::string pointer(Value value);
  // The C expression, a pointer, of a matrix by rows: a tessera_weights of a codebook or floats.
  std::string weights(Value value, std::int64_t rows);
  // Floats of scratch that every operator may use while it runs, at least so many.
  std::string buffer(std::int64_t floats);
  void line(const std::string& text);  // a statement of the run function
  void call(std::string_view helper, const std::string& arguments);  // a call of a helper
  void need(std::string_view helper);
  // A program over the elements of `shape`; operand 0 of an epilogue is `own`, others are inputs of
  // the node from `first` on. Results go to the node's outputs.
  void program(const Node& node, const Program& program, const Shape& shape, const std::string* own,
               int first);
  // to[...] = from[...] over `dims`, by strides and first offsets in elements.
  void copy(const std::string& to, const std::string& from, const std::vector<std::int64_t>& dims,
            const std::vector<std::int64_t>& to_strides,
            const std::vector<std::int64_t>& from_strides);
  bool is_used(Value value) const { return used_.contains({value.node, value.index}); }

  // ---- what c_source uses ----

  // The graph's run function's body, and what it needs.
  void write();
  const std::string& body() const { return body_; }
  const std::string& helpers() const { return helpers_; }
  const std::string& arrays() const { return arrays_; }
  std::int64_t constant_bytes() const { return constant_bytes_; }
  std::int64_t arena_bytes() const { return arena_bytes_; }
  std::int64_t scratch_bytes() const { return arena_bytes_ + buffer_bytes_; }
  const std::vector<std::pair<std::string, std::int64_t>>& decoded() const { return decoded_; }
  bool can_fail() const { return can_fail_; }
  void may_fail() { can_fail_ = true; }

  struct Argument {
    std::string name;  // in C
    TensorType type;
    std::string label;  // in the graph
    bool output = false;
    int carried = -1;  // of an output: the input that it is the next value of
  };
  const std::vector<Argument>& arguments() const { return arguments_; }

 private:
  using Key = std::pair<const Node*, int>;

  void name_arguments(const Inputs& inputs);
  void refuse_unknown() const;
  void evaluate_fixed();
  void place_values();
  void write_outputs();
  Value root(Value value) const;
  bool is_fixed(const Node& node) const { return fixed_[static_cast<std::size_t>(node.id())]; }
  bool is_step(const Node& node) const;
  // Codebook storage that `user` reads as it is stored.
  bool reads_stored(const Node& user, std::size_t input) const;
  std::string constant(const Tensor& tensor, const std::string& hint);
  std::string codebook(const Node& node);
  std::string formula(const OpDef& op);

  const Graph& graph_;
  const State& state_;
  std::string prefix_;
  std::vector<bool> live_, fixed_;
  std::set<Key> used_;
  std::map<Key, std::string> names_;    // of dense values
  std::map<Key, std::string> weights_;  // of matrices
  std::map<Key, Tensor> values_;        // of fixed values that steps read
  std::map<Key, std::string> direct_;   // outputs that are written where they are wanted
  std::set<std::string> taken_;
  std::vector<Argument> arguments_;
  std::size_t input_count_ = 0;  // of the arguments
  std::string body_, helpers_, arrays_, written_;
  std::int64_t constant_bytes_ = 0, arena_bytes_ = 0, buffer_bytes_ = 0;
  std::vector<std::pair<std::string, std::int64_t>> decoded_;
  bool can_fail_ = false;
};

}  // namespace tessera
