// The ONNX project's own tests of single operators (Debian's libonnx-testdata): a folder a case,
// with a model and what it gives for stored inputs.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace tessera::onnx {

// Where they are; empty when the package is not installed.
std::filesystem::path node_cases_folder();

struct NodeResult {
  enum class Kind { passed, unsupported, failed };
  std::string name, op;
  Kind kind = Kind::failed;
  std::string why = {};
};

// Imports the model, runs it on the stored inputs and compares with the stored outputs. Inputs that
// the operator must know when the graph is built (shapes, axes) are given as constants.
NodeResult run_node_case(const std::filesystem::path& folder);

struct OpCounts {
  int passed = 0, unsupported = 0, failed = 0;
  std::map<std::string, int> reasons = {};  // of what is unsupported
};
std::map<std::string, OpCounts> counts_by_op(const std::vector<NodeResult>& results);
// A markdown table of them.
std::string table(const std::map<std::string, OpCounts>& counts);

}  // namespace tessera::onnx
