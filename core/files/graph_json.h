// The JSON form of a graph, version 1; docs/format.md describes it. One node per line:
//
//   {"format":"tessera.graph","version":1,
//   "settings":{"method":"lc"},
//   "attached":{"vocabulary":"the\\ncat\\n"},
//   "weights":{"file":"NAME-<sha12>.safetensors","sha256":"..."},
//   "nodes":[
//   {"id":0,"op":"input","name":"x","type":"f32[batch,784]"},
//   {"id":3,"op":"matmul","inputs":[0,2],"attrs":{"transpose_b":true},"type":"f32[batch,300]"}],
//   "outputs":[{"name":"logits","value":3}],
//   "updates":[{"state":1,"value":4}]}
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/graph.h"

namespace tessera {

struct WeightsFile {
  std::string name;    // of a file in the same folder
  std::string sha256;  // 64 lower-case hexadecimal digits
  // How planes of indices may be coded in it: "rans", or "" when all are packed. It stands in the
  // JSON so that a reader that does not know it says so.
  std::string coding = {};
};
inline constexpr std::string_view kRansCoding = "rans";

struct GraphDocument {
  Graph graph;
  std::map<std::string, std::string> settings = {};
  std::optional<WeightsFile> weights = {};
  std::map<std::string, std::string> attached = {};
};

// The same graph gives the same bytes. Attributes at their default are left out; `settings`,
// `weights` and `attached` too when there are none. Throws Error for names that are not UTF-8 and
// for values that only a compiled graph has (packed for a kernel).
std::string graph_to_json(const Graph& graph,
                          const std::map<std::string, std::string>& settings = {},
                          const std::optional<WeightsFile>& weights = {},
                          const std::map<std::string, std::string>& attached = {});

// Trusts nothing: every cause (format and version, missing or unknown fields, unknown ops, inputs
// that are not earlier nodes, attributes, types that differ from what the op infers, sizes, names
// twice, depth) is an Error "FILE: /json/pointer: cause". `file` is the name for messages.
GraphDocument parse_graph_document(const OpSet& ops, std::string_view text,
                                   const std::string& file);
// The same from a regular file, which takes no more memory than core/memory_rule.h says.
GraphDocument read_graph_document(const std::filesystem::path& path, const OpSet& ops);
Graph graph_from_json(const OpSet& ops, std::string_view text, const std::string& file);

}  // namespace tessera
