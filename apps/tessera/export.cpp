// tessera export: the graph of a model in another form. tessera ops: what graphs are made of.
#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "codegen/c_source.h"
#include "codegen/embedded.h"
#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/find_weights.h"
#include "core/files/graph_json.h"
#include "core/graph_text.h"
#include "core/text.h"
#include "onnx/export.h"
#include "ops/load.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace fs = std::filesystem;

namespace {

struct ExportOptions {
  std::string file;                   // of the model
  std::optional<std::int64_t> batch;  // in place of the symbol
  std::string name;                   // of what is made
  bool dense = false;                 // no codebooks
  std::int64_t affine = 0;            // bits of codebooks that are fitted, 0: none is
};

// A form of a model: what --format and the ending of --out call it.
struct Format {
  std::string_view name, ending, doc;
  std::string (*write)(Model, const ExportOptions&);
};

Graph bound_graph(const Model& model, const ExportOptions& options) {
  return options.batch ? specialize(model.graph, *options.batch) : clone(model.graph);
}

std::string write_c(Model model, const ExportOptions& options) {
  const CSource source = c_source(model, {.name = options.name,
                                          .batch = options.batch.value_or(1),
                                          .origin = fs::path(options.file).filename().string()});
  for (const auto& [name, bytes] : source.decoded) {
    std::cerr << "note: " << name << " is written as " << bytes
              << " bytes of floats: what reads it takes no codebook\n";
  }
  return source.text;
}

std::string write_onnx(Model model, const ExportOptions& options) {
  if (options.batch) model.graph = specialize(model.graph, *options.batch);
  onnx::Exported exported = onnx::export_model(
      model, {.dense = options.dense, .affine_bits = static_cast<int>(options.affine)});
  std::cerr << "operators of version " << exported.opset << "\n";
  for (const onnx::WrittenWeight& weight : exported.weights) {
    std::cerr << "  " << printable(weight.name) << " " << weight.shape << ": " << weight.how << ", "
              << weight.bytes << " bytes";
    if (weight.error > 0)
      std::cerr << ", off by " << fixed(100 * weight.error, 2) << " % of their norm";
    std::cerr << "\n";
  }
  if (exported.looked_up > 0) {
    std::cerr << "note: " << exported.looked_up
              << " weights are looked up by Gather: smaller on disk only, since runtimes make them "
                 "dense when they load the file (--affine BITS)\n";
  }
  return std::move(exported.bytes);
}

// The files as they are: what load() makes of them has been checked.
std::string write_header(Model, const ExportOptions& options) {
  const std::string json = read_file(options.file);
  const auto document = parse_graph_document(ops::standard_ops(), json, options.file);
  return embedded_source(json, read_file(find_weights(options.file, document.weights->name)),
                         options.name, fs::path(options.file).filename().string());
}

constexpr Format kFormats[] = {
    {"text", ".txt", "the graph, one node per line",
     [](Model model, const ExportOptions& o) { return graph_text(bound_graph(model, o)); }},
    {"json", ".json", "the graph as JSON, without weights and settings",
     [](Model model, const ExportOptions& o) { return graph_to_json(bound_graph(model, o)); }},
    {"onnx", ".onnx", "the network for other runtimes, weights packed where they can be",
     write_onnx},
    {"c", ".c", "the network as a C99 file that needs no library; weights stay packed", write_c},
    {"header", ".h", "the model in a C++ header, for programs with this library or its runtime",
     write_header},
};

// By its name, or else by the ending of --out.
const Format& format_of(const std::string& name, const std::string& out) {
  const std::string ending = fs::path(out).extension().string();
  std::vector<std::string> known, forms;
  for (const Format& format : kFormats) {
    known.emplace_back(format.name);
    forms.push_back(cat(format.name, " (", format.ending, ")"));
  }
  if (!name.empty()) {
    const auto* format = std::ranges::find(kFormats, name, &Format::name);
    if (format == std::end(kFormats)) fail_unknown("--format", name, known);
    check(out.empty() || ending == format->ending, "--out ", Quoted{out}, ": --format ", name,
          " goes to a ", format->ending, " file");
    return *format;
  }
  if (out.empty()) return kFormats[0];
  const auto* format = std::ranges::find(kFormats, ending, &Format::ending);
  check(format != std::end(kFormats), "--out ", Quoted{out}, ": what can be written is ",
        listed(forms, " or "));
  return *format;
}

}  // namespace

int export_command(const std::vector<std::string>& args) {
  bool overwrite = false;
  std::string form, out;
  ExportOptions what;
  FlagList options("options");
  auto add = options.add_options();
  std::string forms;
  for (const Format& format : kFormats)
    forms += cat(forms.empty() ? "" : "; ", format.name, ": ", format.doc);
  add("format", text_flag(form, "FORMAT"),
      cat(forms, " (default: by the ending of --out, or text)").c_str());
  add("batch", number_flag([&](std::int64_t n) { what.batch = n; }),
      "with this number in place of the symbol (C: default 1)");
  add("name", text_flag(what.name, "NAME"),
      "C: of the function NAME_run, header: of the namespace (default: the file's name)");
  add("dense", on_flag(what.dense), "ONNX: every codebook as the weights it stands for");
  add("affine", number_flag([&](std::int64_t n) { what.affine = n; }),
      "ONNX: codebooks that are no multiples of one step as the nearest ones that are, in integers "
      "of 2, 4 or 8 bits, which other runtimes keep packed; the error of each weight is shown");
  add("out", text_flag(out, "FILE"), "write to this file (default: the screen)");
  add("overwrite", on_flag(overwrite), kOverwriteHelp);
  const auto files = parse_flags(
      args,
      {"tessera export FILE.json [--format FORMAT] [options]",
       "A model in another form. Weights alone are exported by 'mnist export' and its like, as "
       ".safetensors.",
       1,
       1,
       "one model file",
       {"tessera export MODEL.json", "tessera export MODEL.json --batch 1 --out graph.json",
        "tessera export MODEL.json --out model.onnx",
        "tessera export MODEL.json --out model.onnx --affine 4",
        "tessera export MODEL.json --out net.c", "tessera export MODEL.json --out net.h"}},
      options);
  if (!files) return kExitDone;
  const Format& format = format_of(form, out);
  if (!out.empty()) require_new(out, overwrite);
  check(!what.dense || format.name == "onnx", "--dense is of --format onnx");
  check(what.affine == 0 || format.name == "onnx", "--affine is of --format onnx");
  check(what.affine == 0 || what.affine == 2 || what.affine == 4 || what.affine == 8,
        "--affine: expected 2, 4 or 8 bits, got ", what.affine);
  check(what.affine == 0 || !what.dense, "--affine and --dense exclude each other");
  check(!out.empty() || format.name != "onnx", "--format onnx needs --out FILE.onnx");
  check(!what.batch || format.name != "header", "--batch is of compile(), not of --format header");
  what.file = files->front();
  if (what.name.empty())
    what.name = c_identifier(fs::path(out.empty() ? what.file : out).stem().string());
  const std::string text = format.write(load(what.file), what);
  if (!out.empty()) {
    write_file(out, text);
  } else {
    std::cout << text;
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
