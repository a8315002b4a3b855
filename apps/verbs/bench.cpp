// bench: times of training steps and of inference, dense and packed.
#include "apps/verbs/bench.h"

#include "apps/cli/cli.h"
#include "apps/cli/ranks.h"
#include "apps/verbs/verbs.h"
#include "core/files/model.h"
#include "experiment/machine.h"
#include "experiment/random_data.h"
#include "ops/op_list.h"

namespace tessera::apps {

int bench_verb(const Benchmark& benchmark, const Args& args) {
  const std::string net = NetworkFlags::peek(benchmark, args);
  Recipes recipes = benchmark.recipes(net);
  NetworkFlags network(benchmark);
  DataFlags data(benchmark);
  RunFlags run;
  CodebookFlags codebooks;
  codebooks.usual_bits = "1,2,4";
  TrainBench training;
  training.batch = recipes.train.batch;
  bool train = false, infer = false;
  FlagList options("Flags");
  data.add_flags(options);
  network.add_flags(options);
  auto add = options.add_options();
  add("train", on_flag(train), "training steps only");
  add("infer", on_flag(infer), "inference only");
  add("batch", flag(training.batch), "samples of a training step");
  add("repeat", flag(training.repeat), "rounds; figures are the least and the median of them");
  add("steps", flag(training.steps), "training steps of a round; 0: 20 to 200, by their time");
  std::string compute = "f32";
  add("compute", text_flag(compute, "f32|bf16|int8"),
      "bf16: of a training step's convolutions; int8: of inference with codebooks");
  std::string methods = "lc";
  add("gradients", text_flag(training.gradients, "CODE"),
      "what gradients travel as between ranks (train --help)");
  add("method", text_flag(methods, "LIST"),
      "also training steps of these methods; none: plain ones");
  add("peak-memory", on_flag(training.peak_memory),
      "also the most memory this process held (VmHWM)");
  InferBench inference;
  add("layers", on_flag(inference.layers),
      "inference also layer by layer: dense, exact and in integers, with floors");
  add("tune", text_flag(inference.tune, "FILE"),
      "inference with the fastest kernels as measured here, kept in FILE for the next time");
  add("trace", text_flag(training.trace, "FILE"), "write one training step for chrome://tracing");
  codebooks.add_flags(options);
  run.add_reading_flags(options);
  const std::string start = benchmark.name + " bench ";
  const Usage usage{
      start + "[MODEL.json] [flags]",
      "Measures training steps, and inference of MODEL.json or of untrained networks at several "
      "codebooks. --data random: no data set, but its shapes.",
      0,
      1,
      "at most one model file",
      {start + "--net " + benchmark.networks.front() + " --infer --data random --bits 1,2,4,8",
       start + "MODEL.json --infer", start + "--train --method lc --trace step.json"}};
  const auto files = parse_flags(args, usage, options);
  if (!files) return kExitDone;
  check_range("--batch", static_cast<double>(training.batch), 1, 1 << 20);
  check_range("--repeat", training.repeat, 1, 1000);
  inference.repeat = training.repeat;
  inference.int8 = compute == "int8";
  if (!inference.int8)
    training.bf16 = naming("--compute", [&] { return compute_types().parse(compute); });
  training.methods = methods == "none" ? Args{} : word_list(methods, "--method");
  for (const std::string& name : training.methods)
    check(quant::method_row(name).trains(), "--method: ", name, " does not train");
  naming("--gradients", [&] { GradientCode::parse(training.gradients); });
  check(world() == nullptr || train, "several ranks train together: bench --train");
  check_range("--steps", static_cast<double>(training.steps), 0, 1e6);
  for (const auto& method : training.methods) recipes.compress.method(method);  // known, or Error
  const auto kinds = codebooks.codebooks();
  network.validate();
  data.validate();
  Session session(run);
  std::optional<Model> model;
  if (!files->empty()) {
    const std::string& file = files->front();
    model = load(file, ops::standard_ops());
    check(codebooks.codebook == "adaptive" && codebooks.k == 0 && codebooks.bits.empty(),
          "--codebook, --bits and --k are of untrained networks; ", file, " has its own");
    if (model->settings.contains("network")) network.take(model->settings, file);
    recipes = benchmark.recipes(network.name());
    data.take(*model);
  }
  Data loaded = data.from == kRandomData ? random_data(network.task(), training.batch)
                                         : data.load(network.inputs());
  // Random images are not augmented, so nothing needs to be made ahead beside the steps.
  if (data.from == kRandomData) recipes.train.augment = "none";
  const Task task = make_task(loaded, network.build(*loaded.task));
  session.open_outputs();
  const Machine machine = this_machine();
  session.detail() << text(task.network) << "; data: " << task.data.text << std::endl;
  session.text() << "measured on " << machine.text() << "\nby " << machine.command << std::endl;
  session.json() = {{"verb", "bench"}, {"data", task.data.text}, {"environment", machine.json()}};
  session.json().update(task.network.settings);
  if (train || !infer) bench_training(session, task, recipes, training);
  if (infer || !train) bench_inference(session, task, recipes, model, kinds, inference);
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
