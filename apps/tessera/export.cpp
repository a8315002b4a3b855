// tessera export: the graph of a model in another form. tessera ops: what graphs are made of.
#include <iomanip>
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/graph_json.h"
#include "core/graph_text.h"
#include "ops/load.h"
#include "ops/op_list.h"

namespace tessera::apps {

int export_command(const std::vector<std::string>& args) {
  bool text = false, json = false, overwrite = false;
  std::optional<std::int64_t> batch;
  std::string out;
  FlagList options("options");
  auto add = options.add_options();
  add("text", on_flag(text),
      "the text form, one node per line (the default, unless --out ends in .json)");
  add("json", on_flag(json), "the JSON form, without weights and settings");
  add("batch", number_flag([&](std::int64_t n) { batch = n; }),
      "with this number in place of the symbol");
  add("out", text_flag(out, "FILE"), "write to this file: .txt, or .json for the JSON form");
  add("overwrite", on_flag(overwrite), kOverwriteHelp);
  const auto files = parse_flags(
      args,
      {"tessera export FILE.json [--text | --json] [options]",
       "The graph of a model as text or JSON. Weights are exported by 'mnist export' and "
       "its like, as .safetensors.",
       1,
       1,
       "one model file",
       {"tessera export MODEL.json", "tessera export MODEL.json --batch 1 --out graph.json"}},
      options);
  if (!files) return kExitDone;
  check(!(text && json), "--text and --json exclude each other");
  if (!out.empty()) {
    const std::string kind = std::filesystem::path(out).extension().string();
    check(kind == ".json" || kind == ".txt", "--out '", out,
          "': what can be written is the graph as text (.txt) or as JSON (.json)",
          kind == ".onnx" ? "; ONNX is not one of them" : "");
    check(kind == ".json" ? !text : !json, "--out '", out,
          "': ", kind == ".json" ? "--text goes to a .txt file" : "--json goes to a .json file");
    json = kind == ".json";
    require_new(out, overwrite);
  }
  Model model = load(files->front());
  if (batch) model.graph = specialize(model.graph, *batch);
  const std::string form = json ? graph_to_json(model.graph) : graph_text(model.graph);
  if (!out.empty()) {
    write_file(out, form);
  } else {
    std::cout << form;
  }
  return kExitDone;
}

int ops_command(const std::vector<std::string>& args) {
  FlagList options("options");
  const Usage usage{.line = "tessera ops",
                    .about = "Every operator, its inputs, attributes and kernels.",
                    .examples = {"tessera ops"}};
  if (!parse_flags(args, usage, options)) return kExitDone;
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
