// The walk over an ONNX graph: items by name, leaves by name, and what could not be read.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/import.h"
#include "onnx/import/context.h"
#include "ops/op_list.h"

namespace tessera::onnx {

class Importer {
 public:
  Importer(const ModelProto& proto, const std::filesystem::path& file,
           const ImportOptions& options);
  Imported run();

 private:
  friend class Context;
  struct Problem {
    std::string op, why;
    std::vector<std::string> nodes;
  };

  void read_initializers();
  void read_inputs();
  void check_options() const;
  void read_node(const NodeProto& node);
  void write_outputs();
  Shape input_shape(const ValueProto& value);
  void choose_batch();
  void problem(const NodeProto& node, const std::string& why);
  [[noreturn]] void fail_problems() const;
  std::string renamed(std::string_view name) const;

  const ModelProto& proto_;
  const std::filesystem::path file_;
  const ImportOptions& options_;
  Imported out_;
  std::int64_t opset_ = 1;
  std::map<std::string_view, Item> items_;
  std::map<std::string, Value> leaves_;  // of initializers, in the form that was asked for first
  std::map<std::string, std::string> forms_;
  std::vector<Problem> problems_;
  std::set<std::string> notes_;
  std::optional<std::string_view> batch_;
  std::int64_t fixed_batch_ = 0;  // what any_batch made any
  std::size_t node_count_ = 0;
};

}  // namespace tessera::onnx
