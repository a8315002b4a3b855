// eval: what a model file is and does.
#include <algorithm>

#include "apps/cli/cli.h"
#include "apps/verbs/verbs.h"
#include "core/files/model.h"
#include "core/files/safetensors.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "experiment/machine.h"
#include "experiment/measure.h"
#include "experiment/task.h"
#include "nn/raw_input.h"
#include "ops/op_list.h"
#include "quant/pack/harden.h"
#include "quant/pack/packed_check.h"
#include "report/table.h"
#include "timing/latency.h"

namespace tessera::apps {

namespace {

// What the network gives for everything measured, for comparison with other programs or batch
// sizes.
TensorMap all_outputs(const Model& model, const BatchSource& data, std::int64_t batch,
                      CompileOptions options) {
  TensorMap out;
  const auto run = [&](std::int64_t begin, std::int64_t end, std::int64_t n) {
    if (begin == end) return;
    options.batch = n;
    const Plan plan = compile(model, options);
    RunContext context = plan.context();
    std::vector<Field> fields;
    for (const Field& field : fields_of(model.graph, "the model"))
      fields.push_back(data.field(field.name));
    TensorMap samples = batch_of(fields, n);
    for (const auto& [name, tensor] : samples) {
      const bool raw = name == nn::kInputName && plan.has_input(nn::kRawInputName);
      const std::string input(raw ? nn::kRawInputName : name);
      if (plan.has_input(input)) context.bind(input, tensor);
    }
    for (std::int64_t first = begin; first < end; first += n) {
      stop_if_interrupted();
      data.fill(-1, first, samples);
      context.run();
      for (const auto& [name, value] : model.graph.outputs()) {
        const Tensor& rows = context.output(name);
        const std::int64_t count = rows.shape().rank() == 0 ? 0 : rows.shape()[0].value();
        check(count % n == 0 && count > 0, "--outputs: '", name, "' is ", rows.text_type(),
              ", which has no rows for each of ", n, " samples");
        const std::int64_t each = count / n;  // of a sequence: one for each of its places
        Tensor& all = out[name];
        if (!all.defined()) {
          Shape shape = rows.shape();
          shape[0] = data.samples() * each;
          all = Tensor(rows.dtype(), shape);
        }
        TensorMap part = {{name, all.slice(first * each, (first + n) * each)}};
        copy_rows({{name, rows}}, 0, part);
      }
    }
  };
  const std::int64_t rest = data.samples() % batch, full = data.samples() - rest;
  run(0, full, batch);
  run(full, data.samples(), rest);
  return out;
}

bool is_raw(const Graph& graph) {
  const auto inputs = graph.inputs();
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const Node* node) { return node->name() == nn::kRawInputName; });
}

// How far integer products are from exact ones, layer by layer, on the samples that are measured.
void report_noise(Session& session, const Model& model, const Data& data, std::int64_t batch) {
  const auto source = joined(data.tests);
  if (const auto streams = nn::stream_batch(model.graph, *source); streams > 0) batch = streams;
  if (batch == 0) batch = nn::evaluation_batch(source->fields(), model.graph);
  batch = std::min(batch, source->samples());
  std::vector<Field> fields;
  for (const Field& field : fields_of(model.graph, "the model"))
    fields.push_back(source->field(field.name));
  TensorMap samples = batch_of(fields, batch);
  quant::LayerNoise noise(model, {.batch = batch, .int8 = true});
  for (std::int64_t first = 0; first + batch <= source->samples(); first += batch) {
    stop_if_interrupted();
    source->fill(-1, first, samples);
    TensorMap inputs;
    for (const auto& [name, tensor] : samples) {
      const bool raw = name == nn::kInputName && is_raw(model.graph);
      inputs.emplace(raw ? std::string(nn::kRawInputName) : name, tensor);
    }
    noise.add(inputs);
  }
  Table table({"layer", "SNR dB"});
  for (const quant::LayerSnr& layer : noise.layers()) {
    table.add({layer.name, fixed(layer.db(), 1)});
    session.json()["layer_snr_db"].push_back({{"layer", layer.name}, {"db", layer.db()}});
  }
  table.print(session.text());
}

}  // namespace

int eval_verb(const Benchmark& benchmark, const Args& args) {
  DataFlags data(benchmark);
  RunFlags run;
  std::string outputs;
  std::int64_t batch = 0;
  CompileOptions compiled;
  std::string compute = "f32";
  FlagList options("Flags");
  data.add_flags(options);
  data.add_validation_flag(options);
  auto add = options.add_options();
  add("batch", flag(batch), "samples at once; 0: by their size");
  add("packed-only", on_flag(compiled.packed_only),
      "fail if a kernel needs a whole codebook weight decoded");
  add("compute", text_flag(compute, "f32|int8"),
      "of products with codebooks: exact, or operands rounded to bytes and integer sums");
  add("outputs", text_flag(outputs, "FILE.safetensors"),
      "write what the network gives for all that is measured");
  run.add_reading_flags(options);
  const std::string start = benchmark.name + " eval MODEL.json ";
  const Usage usage{start + "[flags]",
                    "Loads a model and measures it on the test set, or on the samples that "
                    "--validation held out of its training.",
                    1,
                    1,
                    "one model file",
                    {start + "--packed-only", start + "--quiet --json -"}};
  const auto files = parse_flags(args, usage, options);
  if (!files) return kExitDone;
  const std::string& file = files->front();
  check_range("--batch", static_cast<double>(batch), 0, 1 << 20);
  check(compute == "f32" || compute == "int8", "--compute must be f32 or int8, got '", compute,
        "'");
  compiled.int8 = compute == "int8";
  data.validate();
  Session session(run);
  Model model = load(file, ops::standard_ops());
  NetworkFlags network(benchmark);
  const bool named = model.settings.contains("network");
  if (named) network.take(model.settings, file);
  data.take(model);
  const Data images = data.load(fields_of(model.graph, file), is_raw(model.graph));
  require_same_settings(file, model.settings, images.settings, images.may_differ);
  if (named && !is_raw(model.graph)) model = network.reading(std::move(model), file, *images.task);
  session.open_outputs();
  session.detail() << "Data: " << images.text << std::endl;

  State state = model.state.clone();
  const Measured test = measure(model.graph, state, images, compiled, batch);
  const auto size = quant::size_report(model, coded_planes(file, ops::standard_ops()));
  const Latency latency = measure_latency(model, compiled);
  if (!outputs.empty()) {
    const auto source = joined(images.tests);
    if (const auto streams = nn::stream_batch(model.graph, *source); streams > 0) batch = streams;
    if (batch == 0) batch = nn::evaluation_batch(source->fields(), model.graph);
    write_safetensors(outputs, all_outputs(model, *source, batch, compiled));
  }
  session.text() << file << ": " << test.text() << ", loss " << fixed(test.all.loss(), 4) << "\n"
                 << size.text() << "batch 1: " << least_text(latency.us, 1) << " us (least of "
                 << latency.rounds << " rounds, median " << fixed(latency.us.median, 1)
                 << "), kernels " << latency.kernels << ", weights in the plan "
                 << latency.weight_bytes << " bytes\n"
                 << (latency.us.unstable() ? cat(kUnstableNote, "\n") : "") << "measured on "
                 << this_machine().text() << "\n";
  for (const std::string& line : latency.decoded) session.text() << "DECODED " << line << "\n";
  Json& json = session.json() = test.json();
  json["verb"] = "eval";
  json["compute"] = compute;
  json["file"] = file;
  json["data"] = images.text;
  json["bytes"] = size.bytes();
  json["file_bytes"] = size.file_bytes();
  json["bits_per_weight"] = size.bits_per_weight();
  json["entropy_bits"] = size.entropy_bits_per_weight();
  json["file_bits_per_weight"] = size.file_bits_per_weight();
  json["ratio"] = size.ratio();
  json["latency_us"] = latency.us.least;
  json["latency_median_us"] = latency.us.median;
  json["latency_unstable"] = latency.us.unstable();
  json["kernel"] = latency.kernels;
  json["plan_weight_bytes"] = latency.weight_bytes;
  json["decoded"] = latency.decoded;
  if (compiled.int8) report_noise(session, model, images, batch);
  session.report_problems(problems(images));
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
