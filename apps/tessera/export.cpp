// tessera export: the graph of a model in another form. tessera ops: what graphs are made of.
#include <iomanip>
#include <iostream>

#include "apps/common/cli.h"
#include "apps/common/options.h"
#include "apps/tessera/commands.h"
#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/graph_json.h"
#include "core/graph_text.h"
#include "ops/load.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace po = boost::program_options;

int export_command(const std::vector<std::string>& args) {
  po::options_description options("options");
  options.add_options()("file", po::value<std::string>()->required(), "the model, NAME.json")(
      "text", "the text form, one node per line (the default)")(
      "json", "the JSON form, without weights and settings")(
      "batch", po::value<std::int64_t>(), "with this number in place of the symbol")(
      "out", po::value<std::string>(), "write to this file");
  const auto values =
      parse_options("tessera export FILE.json [--text | --json] [options]", options, args, "file");
  if (!values) return kExitDone;
  check(!(values->count("text") && values->count("json")), "--text and --json exclude each other");
  Model model = load((*values)["file"].as<std::string>());
  if (values->count("batch")) {
    model.graph = specialize(model.graph, (*values)["batch"].as<std::int64_t>());
  }
  const std::string out =
      values->count("json") ? graph_to_json(model.graph) : graph_text(model.graph);
  if (values->count("out")) {
    write_file((*values)["out"].as<std::string>(), out);
  } else {
    std::cout << out;
  }
  return kExitDone;
}

int ops_command(const std::vector<std::string>& args) {
  const auto values = parse_options("tessera ops", po::options_description("options"), args);
  if (!values) return kExitDone;
  for (const OpDef* op : ops::standard_ops().all()) {
    std::cout << std::left << std::setw(22) << op->name << op->doc << "\n";
    std::string inputs, attrs;
    for (const InputDef& input : op->inputs) {
      inputs += cat(inputs.empty() ? "" : ", ", input.name, input.variadic ? "..." : "",
                    input.optional ? "?" : "", input.encoded ? " (dense or codebook)" : "");
    }
    for (const AttrDef& attr : op->attrs) {
      attrs += cat(attrs.empty() ? "" : ", ", attr.name, ": ", name(attr.kind));
      if (attr.fallback) attrs += "=" + attr_text(*attr.fallback);
    }
    std::string kernels;
    for (const KernelRow& row : op->rows) kernels += cat(kernels.empty() ? "" : ", ", row.name);
    for (const auto& [what, text] : {std::pair("inputs", inputs), std::pair("attributes", attrs),
                                     std::pair("kernels", kernels)}) {
      if (!text.empty()) std::cout << std::string(22, ' ') << what << ": " << text << "\n";
    }
  }
  return kExitDone;
}

}  // namespace tessera::apps
