#include "apps/common/experiment.h"

#include <chrono>

#include "apps/common/latency.h"
#include "apps/common/table.h"
#include "core/files/model.h"
#include "core/files/safetensors.h"
#include "ops/op_list.h"
#include "quant/compress.h"

namespace tessera::apps {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kReferenceEvaluations = 10;  // of the test set, on the way

nn::Trainer make_trainer(const Task& task, const nn::TrainerOptions& options) {
  return nn::Trainer(task.network, task.sample, task.classes, options);
}

nn::Evaluation evaluate(const Graph& graph, State& state, const BatchSource& data,
                        bool packed_only = false) {
  CompileOptions options;
  options.packed_only = packed_only;
  return nn::Evaluator(clone(graph), options)(state, data);
}

std::string weights_sha256(const Model& model) {
  return make_safetensors(model.state.tensors()).sha256();
}

// "adaptive:2" -> "adaptive2"
std::string slug(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ':') continue;
    out += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' ? c : '_';
  }
  return out;
}

std::string with_prefix(const Session& session, const std::string& rest) {
  return session.flags().name.empty() ? rest : session.flags().name + "-" + rest;
}

void remove_checkpoint(const fs::path& path) {
  std::error_code ignored;  // a checkpoint that stays behind is never wrong, only stale
  fs::remove(path, ignored);
}

// The reference's weights in a trainer for the method.
nn::Trainer trainer_at(const Task& task, const Reference& reference,
                       const nn::TrainerOptions& options) {
  nn::Trainer trainer = make_trainer(task, options);
  nn::set_weights(trainer, reference.model.state);
  return trainer;
}

// Test error in percent of quantizing the reference once, without training.
double direct_error(const Task& task, const Reference& reference, const CompressRecipe& recipe,
                    const std::string& codebook, std::uint64_t seed) {
  nn::Trainer trainer = trainer_at(task, reference, recipe.trainer(seed));
  const auto plan =
      quant::plan_compression(trainer.parameters(), trainer.state(), recipe.policy(codebook));
  quant::DirectCompression direct;
  direct.begin(trainer, plan, false);
  Model model = quant::harden(trainer, direct.codebooks(trainer));
  return evaluate(model.graph, model.state, *task.test).error_percent();
}

void measure(const Task& task, const Reference& reference, const SavedModel& saved,
             Compression& out) {
  Model model = load(saved.json, ops::standard_ops());
  const auto test = evaluate(model.graph, model.state, *task.test, /*packed_only=*/true);
  out.error_after = test.error_percent();
  out.loss_after = test.loss;
  out.correct = test.correct;
  out.samples = test.samples;
  out.weights_bytes = saved.weights_bytes;
  out.json_bytes = saved.json_bytes;
  const auto size = quant::size_report(model);
  out.bits_per_weight = size.bits_per_weight();
  out.entropy_bits = size.entropy_bits_per_weight();
  out.ratio = size.ratio();
  const Latency packed = measure_latency(model, 1, /*packed_only=*/true);
  out.packed_us = packed.median_us;
  out.kernel = packed.kernels;
  out.dense_us = measure_latency(reference.model, 1, false).median_us;
}

}  // namespace

void require_same_settings(const std::string& file, const std::map<std::string, std::string>& model,
                           const Config& task) {
  for (const auto& [key, value] : task) {
    const auto found = model.find(key);
    check(found == model.end() || found->second == value, file, " was made with ", key, " ",
          found == model.end() ? "" : found->second, ", this run has ", value);
  }
}

std::optional<Reference> train_reference(Session& session, const Task& task,
                                         const TrainRecipe& recipe, std::uint64_t seed) {
  Config config = task.settings;
  config.merge(recipe.config());
  config["seed"] = std::to_string(seed);
  const std::string name = with_prefix(session, cat("reference-s", seed));
  const Results results(session.flags().out, session.flags().resume);
  const fs::path file = session.path(name + ".json"),
                 checkpoint = session.path(name + ".checkpoint");
  if (results.find(name, config) && fs::exists(file)) {
    Reference done = load_reference(task, file);
    session.detail() << "reference, seed " << seed << ": already in " << file.string()
                     << ", test error " << fixed(done.test.error_percent(), 2) << " %\n";
    return done;
  }
  session.set_run({{"seed", seed}, {"run", name}});
  nn::Trainer trainer = make_trainer(task, recipe.trainer(seed));
  nn::FitOptions fit;
  fit.phase = "train";
  fit.epochs = recipe.epochs;
  fit.lr = recipe.schedule();
  fit.test = task.test.get();
  fit.test_every = std::max<std::int64_t>(1, recipe.epochs / kReferenceEvaluations);
  fit.checkpoint = checkpoint;
  fit.checkpoint_seconds = session.flags().checkpoint_seconds;
  fit.resume = session.flags().resume;
  fit.config = config;
  fit.observer = session.observer();
  session.detail() << "reference, seed " << seed << ": training " << recipe.epochs << " epochs on "
                   << task.data << std::endl;
  if (!nn::fit(trainer, *task.train(seed), fit).finished) return std::nullopt;

  Model model = nn::inference_model(trainer);
  model.settings = config;
  const SavedModel saved = save(model, file);
  Reference out = load_reference(task, saved.json);
  const Json result = {{"test_error", out.test.error_percent()},
                       {"test_loss", out.test.loss},
                       {"correct", out.test.correct},
                       {"samples", out.test.samples},
                       {"weights_bytes", saved.weights_bytes},
                       {"json_bytes", saved.json_bytes},
                       {"file", saved.json.filename().string()}};
  results.store(name, config, result);
  session.log("reference", result);
  remove_checkpoint(checkpoint);
  return out;
}

Reference load_reference(const Task& task, const fs::path& file) {
  Reference out{load(file, ops::standard_ops()), {}, {}, file};
  require_same_settings(file.string(), out.model.settings, task.settings);
  Graph graph = nn::inference_graph(*task.network, task.sample);
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
  out.test = evaluate(out.model.graph, out.model.state, *task.test);
  return out;
}

std::string plan_text(const Task& task, const CompressRecipe& recipe, const std::string& codebook,
                      const State* weights) {
  const nn::Trainer trainer = make_trainer(task, recipe.trainer(0));
  return quant::plan_compression(trainer.parameters(), weights ? *weights : trainer.state(),
                                 recipe.policy(codebook))
      .text();
}

std::optional<Compression> compress_reference(Session& session, const Task& task,
                                              const Reference& reference,
                                              const CompressRecipe& recipe,
                                              const std::string& method_name,
                                              const std::string& codebook, std::uint64_t seed) {
  Config config = reference.model.settings;
  for (const auto& [key, value] : task.settings) config[key] = value;
  for (const auto& [key, value] : recipe.config(method_name, codebook)) config[key] = value;
  config["reference.seed"] = config.contains("seed") ? config["seed"] : "none";
  config["seed"] = std::to_string(seed);
  config["reference.weights_sha256"] = reference.weights_sha256;
  const std::string name =
      with_prefix(session, cat(slug(method_name), "-", slug(codebook), "-s", seed));
  const Results results(session.flags().out, session.flags().resume);
  const fs::path file = session.path(name + ".json"),
                 checkpoint = session.path(name + ".checkpoint");
  if (const auto found = results.find(name, config); found && fs::exists(file)) {
    session.detail() << method_name << ", " << codebook << ", seed " << seed << ": already done, "
                     << file.string() << "\n";
    return Compression::parse(*found, session.path(name + ".result").string());
  }
  session.set_run({{"seed", seed}, {"run", name}, {"method", method_name}, {"codebook", codebook}});
  session.detail() << method_name << ", " << codebook << ", seed " << seed << ", reference "
                   << fixed(reference.test.error_percent(), 2) << " %" << std::endl;

  nn::Trainer trainer = trainer_at(task, reference, recipe.trainer(seed));
  const auto plan =
      quant::plan_compression(trainer.parameters(), trainer.state(), recipe.policy(codebook));
  const auto method = recipe.method(method_name);
  quant::CompressOptions options;
  options.checkpoint = checkpoint;
  options.checkpoint_seconds = session.flags().checkpoint_seconds;
  options.resume = session.flags().resume;
  options.config = config;
  options.test = task.test.get();
  options.observer = session.observer();
  const auto done = quant::compress(trainer, *task.train(seed), plan, *method, options);
  if (!done.finished) return std::nullopt;

  Model model = quant::harden(trainer, done.codebooks);
  model.settings = config;
  const SavedModel saved = save(model, file);
  Compression out;
  out.method = method_name;
  out.codebook = codebook;
  out.file = saved.json.filename().string();
  out.seed = static_cast<std::int64_t>(seed);
  out.error_before = reference.test.error_percent();
  out.seconds = done.seconds;
  if (!done.c_steps.empty()) out.distance = done.c_steps.back().distance;
  measure(task, reference, saved, out);
  out.error_dc =
      method_name == "dc" ? out.error_after : direct_error(task, reference, recipe, codebook, seed);
  session.detail() << "  " << out.file << ": test error " << fixed(out.error_after, 2)
                   << " % (reference " << fixed(out.error_before, 2) << ", DC "
                   << fixed(out.error_dc, 2) << "), " << out.weights_bytes << " + "
                   << out.json_bytes << " bytes" << std::endl;
  results.store(name, config, out.json());
  session.log("result", out.json());
  remove_checkpoint(checkpoint);
  return out;
}

}  // namespace tessera::apps
