// mnist import and export: weights from and for other programs.
#include "apps/common/cli.h"
#include "apps/common/decoded.h"
#include "apps/common/experiment.h"
#include "apps/common/table.h"
#include "apps/mnist/digits.h"
#include "apps/mnist/verbs.h"
#include "core/files/import.h"
#include "core/files/model.h"
#include "core/files/safetensors.h"
#include "ops/op_list.h"

namespace tessera::apps {

int mnist_import(const std::vector<std::string>& args) {
  DataFlags data;
  RunFlags run = default_run();
  run.name = "imported";
  std::string activation = "tanh";
  std::vector<std::string> rules;
  po::options_description options("Flags");
  data.add_flags(options);
  auto add = options.add_options();
  add("activation", text_flag(activation, "NAME"), "tanh or relu: the file does not say");
  add("map", repeated_flag(rules, "theirs=ours"),
      "a tensor's name in the file and here (fc1.weight, fc1.bias, fc2.weight, ...); "
      "'/regex/=ours' for several, ':t' at the end transposes; may be repeated");
  run.add_writing_flags(options);
  std::vector<std::string> files;
  const VerbUsage usage{"mnist import FILE.safetensors [flags]",
                        "Reads trained weights, measures them, and saves a model that compress "
                        "--from takes."};
  if (!parse_flags(args, usage, options, files, 1)) return kExitDone;
  check(files.size() == 1, "expected one .safetensors file; usage: ", usage.line);
  const auto kind = models::parse_activation(activation);
  Session session(run);
  const Task task = digits_task(load_digits(data), kind);
  Model model{nn::inference_graph(*task.network, task.sample), {}, task.settings};
  for (const Node* node : model.graph.states()) {
    model.state.set(node->name(), Tensor(node->types()[0].dtype, node->types()[0].shape));
  }
  ImportOptions import;
  import.rules = rules;
  import.strict = false;  // the report is worth more than the first problem
  const ImportReport report = import_safetensors(files[0], model.state, import);
  session.text() << report.text();
  check(report.complete(), files[0], ": ", report.missing.size(), " tensors missing, ",
        report.unused.size(), " unused, ", report.mismatched.size(),
        " mismatched (listed above); --map says which is which");
  model.settings["imported"] = make_safetensors(read_safetensors(files[0]).tensors).sha256();
  session.open_outputs();
  const SavedModel saved = save(model, session.path(run.name + ".json"));
  const Reference reference = load_reference(task, saved.json);
  const nn::Evaluation& test = reference.test;
  session.text() << "Data: " << task.data << "\n"
                 << saved.json.string() << ": test error " << fixed(test.error_percent(), 2)
                 << " % (" << test.correct << " of " << test.samples << " correct)\n";
  session.json() = {{"verb", "import"},
                    {"file", saved.json.string()},
                    {"data", task.data},
                    {"imported", report.matched.size()},
                    {"test_error", test.error_percent()},
                    {"test_loss", test.loss},
                    {"correct", test.correct},
                    {"samples", test.samples}};
  session.finish();
  return kExitDone;
}

int mnist_export(const std::vector<std::string>& args) {
  RunFlags run;
  bool dense = false;
  po::options_description options("Flags");
  options.add_options()("dense", po::bool_switch(&dense),
                        "decode codebooks (always so for .safetensors)");
  run.add_reading_flags(options);
  std::vector<std::string> files;
  const VerbUsage usage{
      "mnist export MODEL.json TO [flags]",
      "TO ends in .json: the model under another name, beside it its weights. TO ends in\n"
      ".safetensors: the decoded f32 weights by name (fc1.weight, ...), for other programs."};
  if (!parse_flags(args, usage, options, files, 2)) return kExitDone;
  check(files.size() == 2, "expected a model and a target; usage: ", usage.line);
  const std::filesystem::path from = files[0], to = files[1];
  const bool tensors = to.extension() == ".safetensors";
  check(tensors || to.extension() == ".json", "'", to.string(),
        "': expected a name that ends in .json or .safetensors");
  Session session(run);
  Model model = load(from, ops::standard_ops());
  if (dense || tensors) model = decoded(model);
  session.open_outputs();
  std::int64_t bytes = 0;
  if (tensors) {
    const SafetensorsImage image = make_safetensors(model.state.tensors());
    image.write(to);
    bytes = image.bytes();
    session.text() << to.string() << ": " << bytes << " bytes\n";
  } else {
    const SavedModel saved = save(model, to);
    bytes = saved.weights_bytes;
    session.text() << saved.json.string() << ": " << saved.json_bytes << " bytes, "
                   << saved.weights.filename().string() << ": " << bytes << " bytes\n";
  }
  session.json() = {{"verb", "export"}, {"file", to.string()}, {"bytes", bytes}};
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
