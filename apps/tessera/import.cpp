// tessera import: an ONNX file as a model of this library.
#include <filesystem>
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/cli/task_flags.h"
#include "apps/tessera/commands.h"
#include "apps/tessera/summary.h"
#include "core/error.h"
#include "core/files/model.h"
#include "core/op_def.h"
#include "core/text.h"
#include "experiment/task.h"
#include "nn/raw_input.h"
#include "onnx/import.h"
#include "ops/load.h"
#include "quant/pack/harden.h"

namespace tessera::apps {

namespace {

std::pair<std::string, std::string> pair_of(const std::string& flag, const std::string& text) {
  const auto at = text.find('=');
  check(at != text.npos && at > 0 && at + 1 < text.size(), flag, " '", text,
        "': expected NAME=VALUE");
  return {text.substr(0, at), text.substr(at + 1)};
}

std::int64_t number_of(const std::string& flag, const std::string& text) {
  std::size_t end = 0;
  std::int64_t out = 0;
  try {
    out = std::stoll(text, &end);
  } catch (const std::exception&) {
  }
  check(end == text.size() && end > 0, flag, ": expected a number, got '", text, "'");
  return out;
}

// The names that a network for classification has in the applications, where there is one input and
// one output; what a softmax at the end is made of.
void as_classifier(Model& model, std::vector<std::string>& notes) {
  const std::string logits = "logits";
  const Graph& from = model.graph;
  if (from.inputs().size() != 1 || from.outputs().size() != 1) return;
  const Node* input = from.inputs().front();
  const auto& [output, value] = from.outputs().front();
  const TensorType& type = input->types()[0];
  if (type.dtype != DType::f32 || type.shape.rank() < 2 || value.shape().rank() != 2) return;
  const bool softmax = value.node->op().name == "softmax";
  if (input->name() == nn::kInputName && output == logits && !softmax) return;
  Graph to(from.ops());
  to.set_source(from.source());
  GraphMap map(from);
  for (const Node& node : from.nodes()) {
    std::vector<Value> inputs;
    for (const Value v : node.inputs()) inputs.push_back(v ? map[v] : Value());
    if (&node == input) {
      map.set(node, {to.input(nn::kInputName, type)});
    } else {
      map.set(node, copy_node(to, node, std::move(inputs)));
    }
  }
  to.set_output(logits, map[softmax ? value.node->input(0) : value]);
  if (input->name() != nn::kInputName)
    notes.push_back(cat("input ", quote(input->name()), " is 'x' here (--keep-names)"));
  if (softmax) {
    notes.push_back(cat("output ", quote(output),
                        " is a softmax; 'logits' is what goes into it (--keep-names)"));
  } else if (output != logits) {
    notes.push_back(cat("output ", quote(output), " is 'logits' here (--keep-names)"));
  }
  model.graph = clone(to);
}

}  // namespace

int import_command(const std::vector<std::string>& args) {
  std::vector<std::string> renamed, sizes;
  bool keep = false, overwrite = false;
  std::string out;
  onnx::ImportOptions import;
  FlagList options("options");
  auto add = options.add_options();
  add("out", text_flag(out, "OUT.json"),
      "the model to write (default: the file's name with .json)");
  add("any-batch", on_flag(import.any_batch),
      "the first axis of the inputs is the batch, also where the file has a number there");
  add("size", repeated_flag(sizes, "SYMBOL=N"),
      "the size of a symbolic dimension; the first axis stays the batch without it");
  add("rename", repeated_flag(renamed, "THEIRS=OURS"), "an input or output under another name");
  add("keep-names", on_flag(keep),
      "a network of one input and one output of rank 2 keeps their names; otherwise they become x "
      "and logits, which mnist, cifar10 and imagenet expect, and a softmax at the end is left out");
  add("dense", on_flag(import.dense),
      "weights of integers and scales as f32, to train or compress them anew; otherwise they "
      "become codebooks");
  add("overwrite", on_flag(overwrite), kOverwriteHelp);
  const auto files = parse_flags(
      args,
      {"tessera import MODEL.onnx [options]",
       "Reads an ONNX file and writes it as a model, which inspect, verify, export and the "
       "applications' --from take. What cannot be read is listed, all at once.",
       1,
       1,
       "one ONNX file",
       {"tessera import resnet18.onnx --any-batch --out out/resnet18.json",
        "tessera import encoder.onnx --size sequence=128"}},
      options);
  if (!files) return kExitDone;
  const std::filesystem::path file = files->front();
  for (const std::string& text : renamed) import.renamed.insert(pair_of("--rename", text));
  for (const std::string& text : sizes) {
    const auto [symbol, size] = pair_of("--size", text);
    import.sizes[symbol] = number_of("--size", size);
  }
  if (out.empty()) out = file.stem().string() + ".json";
  const std::filesystem::path target = out;
  check(target.extension() == ".json", "--out '", out, "': expected a name that ends in .json");
  require_new(target, overwrite);
  onnx::Imported imported = onnx::import_model(file, import);
  Model& model = imported.model;
  if (!keep) as_classifier(model, imported.notes);
  model.settings = {
      {"network", target.stem().string()}, {kOwnGraph, "yes"}, {kImported, imported.sha256}};
  const SavedModel saved = save(model, target);
  const Model loaded = load(saved.json);
  const quant::SizeReport sizes_of = quant::size_report(loaded);
  CompileOptions compile_options;
  const Plan plan = compile(loaded, compile_options);
  std::string kinds;
  for (const auto& [op, n] : imported.ops)
    kinds += cat(kinds.empty() ? "" : ", ", n, " ", printable(op));
  std::cout << file.string() << ": " << kinds << "\n";
  if (sizes_of.weights() > 0) {
    imported.notes.push_back(
        "weights of integers and scales are codebooks; --dense makes them f32, to train or "
        "compress them anew");
  }
  for (const std::string& note : imported.notes) std::cout << "  " << note << "\n";
  std::cout << saved.json.string() << ": " << saved.json_bytes << " bytes, "
            << saved.weights.filename().string() << ": " << saved.weights_bytes << " bytes\n"
            << summarize(loaded.graph, sizes_of, plan, compile_options.batch).text(sizes_of);
  return kExitDone;
}

}  // namespace tessera::apps
