#include "tests/onnx/node_cases.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include "core/compile.h"
#include "core/error.h"
#include "core/files/atomic_file.h"
#include "onnx/import.h"
#include "onnx/proto.h"

namespace tessera::onnx {

namespace {

namespace fs = std::filesystem;
constexpr double kAbsolute = 1e-5, kRelative = 1e-3;  // of the ONNX project's own runner: 0, 1e-3
// The stored bfloat16 numbers are cut off, ours are rounded: one unit of the last of 8 bits.
constexpr double kHalf = 1.0 / 128;

struct Stored {
  std::vector<std::string> bytes;
  std::vector<TensorProto> protos;
};

// input_0.pb, input_1.pb, ... Error for what is no tensor (sequences, optionals).
Stored read_all(const fs::path& folder, const std::string& kind,
                const std::vector<ValueProto>& values) {
  Stored out;
  out.bytes.reserve(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const fs::path file = folder / cat(kind, "_", i, ".pb");
    if (!fs::exists(file)) break;
    out.bytes.push_back(read_file(file));
    out.protos.push_back(parse_tensor(out.bytes.back(), file.string()));
    // Written by numpy, which has no bfloat16.
    if (values[i].type == ElementType::bf16) out.protos.back().type = values[i].type;
  }
  return out;
}

bool whole(const TensorProto& proto) {
  return proto.type != ElementType::f32 && proto.type != ElementType::f16 &&
         proto.type != ElementType::f64 && proto.type != ElementType::bf16;
}

std::string compare(const Tensor& got, const Tensor& expected, double relative) {
  if (got.shape() != expected.shape())
    return cat("shape ", got.shape(), ", expected ", expected.shape());
  for (std::int64_t i = 0; i < got.numel(); ++i) {
    const double a = element(got, i), b = element(expected, i);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!(std::fabs(a - b) <= kAbsolute + relative * std::fabs(b)))
      return cat("element ", i, " is ", a, ", expected ", b);
  }
  return "";
}

// One data set; `known` inputs are constants.
std::string run(const fs::path& model, const ModelProto& proto, const Stored& inputs,
                const Stored& outputs, const std::vector<bool>& known) {
  ImportOptions options;
  std::map<std::string, Tensor> given;
  for (std::size_t i = 0; i < inputs.protos.size(); ++i) {
    const std::string name(proto.graph.inputs[i].name);
    if (name.empty()) continue;
    const Tensor tensor = read_tensor(inputs.protos[i], {});
    (known[i] ? options.values : given)[name] = tensor;
  }
  const Imported imported = import_model(model, options);
  std::map<std::string, Tensor> feed;
  for (const Node* node : imported.model.graph.inputs()) {
    const DType dtype = node->types()[0].dtype;
    const Tensor& tensor = given.at(node->name());
    feed[node->name()] = tensor.dtype() == dtype ? tensor : tensor.to(dtype);
  }
  const auto results = compile(imported.model).run(feed);
  for (std::size_t i = 0; i < outputs.protos.size(); ++i) {
    const std::string name(proto.graph.outputs[i].name);
    const bool half = outputs.protos[i].type == ElementType::bf16;
    const std::string why =
        compare(results.at(name), read_tensor(outputs.protos[i], {}), half ? kHalf : kRelative);
    if (!why.empty()) return cat("output '", name, "': ", why);
  }
  return "";
}

// What an Error says of the node alone.
std::string reason(const std::string& message) {
  const auto at = message.find("): "), colon = message.find(": ");
  std::string out = at != message.npos      ? message.substr(at + 3)
                    : colon != message.npos ? message.substr(colon + 2)
                                            : message;
  out = out.substr(0, out.find("; "));  // of the first of several
  return std::regex_replace(out, std::regex("(operand|input) '[^']*'"), "an $1");
}

}  // namespace

fs::path node_cases_folder() {
  for (const char* folder : {"/usr/share/libonnx-testdata/data/node",
                             "/usr/lib/python3/dist-packages/onnx/backend/test/data/node"}) {
    if (fs::is_directory(folder)) return folder;
  }
  return {};
}

NodeResult run_node_case(const fs::path& folder) {
  NodeResult out{.name = folder.filename().string(), .op = "?"};
  const fs::path model = folder / "model.onnx";
  try {
    const std::string bytes = read_file(model);
    const ModelProto proto = parse_model(bytes, model.string());
    if (!proto.graph.nodes.empty()) out.op = proto.graph.nodes.front().op;
    for (const NodeProto& node : proto.graph.nodes)
      if (out.op == "Constant" || out.op == "ConstantOfShape") out.op = node.op;
    // A function written out in other operators.
    if (out.name.ends_with("_expanded")) out.op = "functions written out";
    for (int set = 0; fs::is_directory(folder / cat("test_data_set_", set)); ++set) {
      const fs::path data = folder / cat("test_data_set_", set);
      const Stored inputs = read_all(data, "input", proto.graph.inputs);
      const Stored outputs = read_all(data, "output", proto.graph.outputs);
      // As few constants as it takes: none, the integers, all but the first input, all.
      std::string why;
      for (int round = 0; round < 4; ++round) {
        std::vector<bool> known;
        for (std::size_t i = 0; i < inputs.protos.size(); ++i)
          known.push_back(round == 3 || (round == 2 && i > 0) ||
                          (round == 1 && whole(inputs.protos[i])));
        try {
          why = run(model, proto, inputs, outputs, known);
          out.kind = why.empty() ? NodeResult::Kind::passed : NodeResult::Kind::failed;
          break;
        } catch (const Error& e) {
          out.kind = NodeResult::Kind::unsupported;
          if (round == 0) why = reason(e.what());
        }
      }
      out.why = why;
      if (out.kind != NodeResult::Kind::passed) break;
      out.why.clear();
    }
  } catch (const std::exception& e) {  // an Error of the reader, too: these files are sound
    out.kind = NodeResult::Kind::failed;
    out.why = e.what();
  }
  return out;
}

std::map<std::string, OpCounts> counts_by_op(const std::vector<NodeResult>& results) {
  std::map<std::string, OpCounts> out;
  for (const NodeResult& result : results) {
    OpCounts& counts = out[result.op];
    if (result.kind == NodeResult::Kind::passed) ++counts.passed;
    if (result.kind == NodeResult::Kind::failed) ++counts.failed;
    if (result.kind == NodeResult::Kind::unsupported) {
      ++counts.unsupported;
      ++counts.reasons[result.why];
    }
  }
  return out;
}

std::string table(const std::map<std::string, OpCounts>& counts) {
  std::string out = "| operator | passed | unsupported | failed | why |\n|---|---|---|---|---|\n";
  OpCounts all;
  for (const auto& [op, c] : counts) {
    std::string why;
    for (const auto& [reason, n] : c.reasons) why += (why.empty() ? "" : "; ") + reason;
    out +=
        cat("| ", op, " | ", c.passed, " | ", c.unsupported, " | ", c.failed, " | ", why, " |\n");
    all.passed += c.passed;
    all.unsupported += c.unsupported;
    all.failed += c.failed;
  }
  return out + cat("| all | ", all.passed, " | ", all.unsupported, " | ", all.failed, " | |\n");
}

}  // namespace tessera::onnx
