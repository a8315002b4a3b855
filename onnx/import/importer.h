// The walk over an ONNX graph: items by name, leaves by name, and what could not be read.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/import.h"
#include "onnx/import/context.h"
#include "onnx/import/packed_weights.h"
#include "ops/op_list.h"

namespace tessera::onnx {

class Importer {
 public:
  // `bytes` are those of the file.
  Importer(const ModelProto& proto, const std::filesystem::path& file, std::int64_t bytes,
           const ImportOptions& options);
  Imported run();

 private:
  friend class Context;
  // Operator and reason.
  using Problems = std::map<std::pair<std::string, std::string>, std::vector<std::string>>;

  void read_initializers();
  void read_inputs();
  void check_options() const;
  void read_node(const NodeProto& node);
  void write_outputs();
  Shape input_shape(const ValueProto& value);
  void choose_batch();
  void problem(const NodeProto& node, const std::string& why);
  [[noreturn]] void fail_problems() const;
  // What reading takes beside the file, so many bytes more: Error over the rule's limit.
  void charge(std::int64_t bytes);
  std::string renamed(std::string_view name) const;

  const ModelProto& proto_;
  const std::filesystem::path file_;
  const ImportOptions& options_;
  Imported out_;
  std::int64_t opset_ = 1;
  std::map<std::string_view, Item> items_;
  std::map<std::string, Value> leaves_;  // of initializers, in the form that was asked for first
  std::map<std::string, std::string> forms_;
  std::map<std::string, PackedWeight> packed_;  // of leaves
  Problems problems_;
  std::set<std::string> notes_;
  std::optional<std::string_view> batch_;
  std::int64_t fixed_batch_ = 0;  // what any_batch made any
  std::size_t node_count_ = 0;
  std::int64_t stored_ = 0, taken_ = 0;  // bytes of the files, and made of them
};

}  // namespace tessera::onnx
