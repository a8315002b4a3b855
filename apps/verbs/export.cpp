// export: weights for other programs, or a model under another name.
#include "apps/cli/cli.h"
#include "apps/verbs/verbs.h"
#include "core/files/model.h"
#include "core/files/safetensors.h"
#include "experiment/task.h"
#include "nn/raw_input.h"
#include "ops/op_list.h"
#include "quant/pack/decoded.h"

namespace tessera::apps {

namespace {

Model carrying_preprocessing(const Model& model, DataFlags& flags, const std::string& file) {
  check(nn::input_name(model.graph) != nn::kRawInputName, file,
        ": carries its preprocessing already");
  flags.take(model);
  const Data data = flags.load(fields_of(model.graph, file));
  require_same_settings(file, model.settings, data.settings, data.may_differ);
  check(data.preprocess.has_value(),
        "--raw: these images are not prepared by a scale and a shift alone");
  return nn::with_raw_input(model, data.preprocess->scale(), data.preprocess->shift());
}

}  // namespace

int export_verb(const Benchmark& benchmark, const Args& args) {
  RunFlags run;
  DataFlags data(benchmark);
  bool dense = false, overwrite = false, raw = false;
  FlagList options("Flags");
  data.add_flags(options);
  options.add_options()(
      "raw", on_flag(raw),
      "put the preprocessing of --data into the model, which then takes images as "
      "they are stored and needs no training images")(
      "dense", on_flag(dense), "decode codebooks (always so for .safetensors)")(
      "overwrite", on_flag(overwrite), kOverwriteHelp);
  run.add_reading_flags(options);
  const std::string start = benchmark.name + " export ";
  const Usage usage{
      start + "MODEL.json TO [flags]",
      "TO ends in .json: the model under another name, beside it its weights. TO ends in\n"
      ".safetensors: the decoded f32 weights by name (fc1.weight, ...), for other programs.",
      2,
      2,
      "a model and a target",
      {start + "MODEL.json weights.safetensors", start + "MODEL.json dense.json --dense"}};
  const auto files = parse_flags(args, usage, options);
  if (!files) return kExitDone;
  const std::filesystem::path from = files->at(0), to = files->at(1);
  const bool tensors = to.extension() == ".safetensors";
  check(tensors || to.extension() == ".json", "'", to.string(),
        "': expected a name that ends in .json or .safetensors",
        to.extension() == ".onnx" ? "; ONNX is written by tessera export" : "");
  require_new(to, overwrite);
  Session session(run);
  Model model = load(from, ops::standard_ops());
  if (dense || tensors) model = quant::decoded(model);
  if (raw) model = carrying_preprocessing(model, data, from.string());
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
