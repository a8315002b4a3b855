#include "experiment/reference.h"

#include <algorithm>

#include "core/files/model.h"
#include "core/files/safetensors.h"
#include "core/interrupt.h"
#include "experiment/machine.h"
#include "nn/fit.h"
#include "ops/op_list.h"

namespace tessera::experiment {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kReferenceEvaluations = 10;  // on the way

}  // namespace

std::string weights_sha256(const Model& model) {
  return make_safetensors(model.state.tensors()).sha256();
}

Run reference_run(const Session& session, const Task& task, const TrainRecipe& recipe,
                  std::uint64_t seed, const Reference* from) {
  Config config = task.settings;
  config.merge(recipe.config());
  config["seed"] = std::to_string(seed);
  if (from) {
    config["reference.from_sha256"] = from->weights_sha256;
    const auto imported = from->model.settings.find(kImported);
    if (imported != from->model.settings.end()) config.insert(*imported);
  }
  return {with_prefix(session, cat("reference-s", seed)), config};
}

void require_usable_reference(const Session& session, const Run& run) {
  require_same_settings_there(session, run, [](const std::string& file) {
    return "--from " + file + " takes it as it is, another --out or --name trains one of these";
  });
}

std::optional<Reference> existing_reference(Session& session, const Task& task, const Run& run) {
  const fs::path file = session.path(run.name + ".json");
  require_usable_reference(session, run);
  if (!fs::exists(file)) return std::nullopt;
  Reference out = load_reference(task, file);
  session.detail(cat("reference, seed ", run.config.at("seed"), ": already in ", file.string(),
                     ", ", out.test.text(), "\n"));
  return out;
}

Reference reference_for(Session& session, const Task& task, const TrainRecipe& recipe,
                        std::uint64_t seed) {
  const Run run = reference_run(session, task, recipe, seed);
  if (auto there = existing_reference(session, task, run)) return *std::move(there);
  session.text(cat("No ", run.name, " in ", session.out().out,
                   ": it is trained first (--from MODEL.json starts from another network)\n"));
  return train_reference(session, task, recipe, seed);
}

Reference train_reference(Session& session, const Task& task, const TrainRecipe& recipe,
                          std::uint64_t seed, const Reference* from) {
  const Run run = reference_run(session, task, recipe, seed, from);
  const auto& [name, config] = run;
  const fs::path file = session.path(name + ".json"),
                 checkpoint = session.path(name + ".checkpoint");
  const auto found = results_of(session).find(name, config);
  if (!session.out().overwrite) {
    require_same_settings_there(session, run, [](const std::string&) {
      return "--name or --out keeps both, --overwrite replaces it";
    });
  }
  if (found && fs::exists(file)) {
    Reference done = load_reference(task, file);
    session.detail(cat("reference, seed ", seed, ": already in ", file.string(), ", ",
                       done.test.text(), "\n"));
    return done;
  }
  session.begin_run(name, {{"seed", seed}}, task.data.measured_on);
  nn::TrainerOptions options = recipe.trainer(seed);
  options.ranks.communicator = session.communicator();
  nn::Trainer trainer = make_trainer(task, options);
  recipe.add_objectives(trainer);
  if (from) nn::set_weights(trainer, from->model.state);
  nn::FitOptions fit;
  fit.phase = "train";
  fit.epochs = recipe.epochs;
  fit.lr = recipe.schedule();
  std::shared_ptr<const BatchSource> validation;
  if (recipe.validates()) {
    check(!task.data.validation.empty(),
          "--lr-plateau and --patience look at validation samples: ", task.data.text,
          ": there are none; --validation N holds some out");
    validation = joined(task.data.validation);
    fit.early_stopping = recipe.early_stopping(validation.get());
  }
  fit.test = task.test.get();
  fit.test_every = std::max<std::int64_t>(1, recipe.epochs / kReferenceEvaluations);
  fit.checkpoint = checkpoint;
  fit.checkpoint_seconds = session.out().checkpoint_seconds;
  fit.resume = session.out().resume;
  fit.config = config;
  fit.observer = session.observer();
  session.detail(cat("reference, seed ", seed, ": training ", recipe.epochs, " epochs ",
                     (from ? "from " + from->file.string() + " " : ""), "on ", task.data.text,
                     "\n"));
  if (!nn::fit(trainer, *training_data(task, seed, recipe.augment, recipe.batch), fit).finished)
    throw Interrupted();
  Model model = nn::inference_model(trainer);
  model.settings = config;
  model.attached = task.data.attached;
  const SavedModel saved = save(model, file);
  Reference out = load_reference(task, saved.json);
  Json result = out.test.json();
  result["weights_bytes"] = saved.weights_bytes;
  result["json_bytes"] = saved.json_bytes;
  result["file"] = saved.json.filename().string();
  result["environment"] = this_machine().json();
  results_of(session).store(name, config, result);
  session.log("reference", result);
  remove_checkpoint(checkpoint);
  return out;
}

Reference untrained(const Task& task, std::uint64_t seed) {
  nn::TrainerOptions options;
  options.seed = seed;
  Reference out{nn::inference_model(make_trainer(task, options)), {}, {}, {}};
  out.model.settings = task.settings;
  out.model.attached = task.data.attached;
  out.model.settings["start"] = "untrained";
  out.model.settings["seed"] = std::to_string(seed);
  out.weights_sha256 = weights_sha256(out.model);
  out.test = measure(out.model.graph, out.model.state, task.data);
  return out;
}

Reference load_reference(const Task& task, const fs::path& file) {
  Reference out{load(file, ops::standard_ops()), {}, {}, file};
  require_same_settings(file.string(), out.model.settings, task.settings, task.data.may_differ);
  Graph graph = nn::inference_graph(*task.network.network, *task.data.task);
  for (const Node* node : graph.states()) {
    const std::string& name = node->name();
    check(out.model.state.has(name), file.string(), ": has no '", name,
          "'; expected a dense model of this network (compressed ones cannot be trained further)");
    const Tensor& tensor = out.model.state.get(name);
    check(tensor.dtype() == node->types()[0].dtype && tensor.shape() == node->types()[0].shape,
          file.string(), ": '", name, "' is ", tensor.text_type(), ", expected ",
          node->types()[0].text());
  }
  out.model.graph = std::move(graph);
  out.weights_sha256 = weights_sha256(out.model);
  out.test = measure(out.model.graph, out.model.state, task.data);
  return out;
}

}  // namespace tessera::experiment
