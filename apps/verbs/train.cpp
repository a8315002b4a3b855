// train: a dense reference for each seed.
#include "apps/cli/cli.h"
#include "apps/verbs/verbs.h"
#include "core/files/model.h"
#include "core/text.h"
#include "experiment/compression.h"
#include "ops/op_list.h"
#include "report/table.h"
#include "timing/statistics.h"

namespace tessera::apps {

int train_verb(const Benchmark& benchmark, const Args& args) {
  const std::string net = NetworkFlags::peek(benchmark, args);
  NetworkFlags network(benchmark);
  DataFlags data(benchmark);
  RunFlags run = default_run(benchmark, net);
  TrainRecipe recipe = benchmark.recipes(net).train;
  std::string seeds = "1", from;
  FlagList options("Flags");
  data.add_flags(options);
  data.add_validation_flag(options);
  network.add_flags(options);
  network.add_activation_flags(options, "");
  options.add_options()("seed", text_flag(seeds, "N"),
                        "seed of initial weights and batch order, or several: 1,2,3")(
      "from", text_flag(from, "MODEL.json"),
      "dense model whose weights training starts from, instead of new ones; with --activation-bits "
      "its activations become quantized");
  recipe.add_flags(options, "");
  run.add_writing_flags(options);
  const std::string verb = benchmark.name + " train ";
  const Usage usage{.line = verb + "[flags]",
                    .about = "Trains a network and saves it.",
                    .examples = {verb + "--data DIR --net " + benchmark.networks.front(),
                                 verb + "--seed 1,2,3 --epochs 10 --json results.json"}};
  if (!parse_flags(args, usage, options)) return kExitDone;
  recipe.validate("");
  network.validate();
  data.validate();
  const auto seed_list = integer_list(seeds, "--seed", 0, 1'000'000'000);
  distinct(seed_list, "--seed");
  Session session(run);
  if (!from.empty()) {
    const Model model = load(from, ops::standard_ops());
    network.take(model.settings, from, /*trains=*/true);
    data.take(model);
    data.take_validation(model.settings);
  }
  Data loaded = data.load(network.inputs());
  const Task task = make_task(loaded, network.build(*loaded.task));
  training_data(task, 0, recipe.augment, recipe.batch);  // there is some, or Error before any work
  std::optional<Reference> start;
  if (!from.empty()) start = load_reference(task, from);
  session.open_outputs();
  if (start) {
    session.detail() << from << " as " << text(task.network) << ": " << start->test.text() << "\n";
  }
  session.detail() << "Data: " << task.data.text << std::endl;

  std::optional<Table> table;
  std::vector<double> values;
  nn::Metric main;
  Json& json =
      session.json() = {{"verb", "train"}, {"data", task.data.text}, {"rows", Json::array()}};
  json.update(task.network.settings);
  for (const std::int64_t seed : seed_list) {
    const Reference reference = train_reference(
        session, task, recipe, static_cast<std::uint64_t>(seed), start ? &*start : nullptr);
    const nn::Metric metric = main = reference.test.metric();
    values.push_back(metric.value);
    if (!table) {
      std::vector<std::string> header = {
          "seed", with_unit(cat(task.data.measured_on, " ", metric.title()), metric), ""};
      for (auto& name : extra_columns(reference.test)) header.push_back(std::move(name));
      header.push_back("file");
      table.emplace(std::move(header));
    }
    std::vector<std::string> cells = {std::to_string(seed), fixed(metric.value, metric.digits),
                                      metric.detail};
    for (auto& cell : extra_cells(reference.test)) cells.push_back(std::move(cell));
    cells.push_back(reference.file.string());
    table->add(std::move(cells));
    Json row = reference.test.json();
    row["seed"] = seed;
    row["weights_sha256"] = reference.weights_sha256;
    row["file"] = reference.file.string();
    json["rows"].push_back(std::move(row));
  }
  table->print(session.text());
  if (values.size() > 1) {
    session.text() << "mean " << with_unit(mean_text(values, main.digits + 1), main)
                   << " (standard error over " << values.size() << " seeds)\n";
  }
  json["mean_" + metric_key(main, task.data.measured_on)] = number_or_null(mean(values));
  json["standard_error"] = number_or_null(standard_error(values));
  session.report_problems(problems(task.data));
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
