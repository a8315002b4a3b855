#include "experiment/compression.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

#include "core/files/atomic_file.h"
#include "core/files/model.h"
#include "core/interrupt.h"
#include "core/words.h"
#include "experiment/histograms.h"
#include "ops/op_list.h"
#include "quant/calibrate/activations.h"
#include "quant/calibrate/batch_norm.h"
#include "quant/calibrate/calibration.h"
#include "quant/calibrate/layers.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/pack/entries.h"
#include "timing/latency.h"

namespace tessera::experiment {

namespace {

namespace fs = std::filesystem;

constexpr const char* kEntropyCoded = "entropy_coded";
// "adaptive:2" -> "adaptive2"
std::string file_word(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ':') continue;
    out += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' ? c : '_';
  }
  return out;
}

// The reference's weights (and whatever else its network keeps) in a trainer for the method.
nn::Trainer trainer_at(const Task& task, const Reference& reference,
                       const nn::TrainerOptions& options) {
  nn::Trainer trainer = make_trainer(task, options);
  State weights = reference.model.state.clone();
  for (const auto& p : trainer.parameters()) {
    // The reference knows nothing of ranges, which start where they were calibrated.
    if (quant::is_activation_range(p.name) && !weights.has(p.name))
      weights.set(p.name, trainer.state().get(p.name));
  }
  nn::set_weights(trainer, weights);
  return trainer;
}

// The task with a network whose activations are quantized, if the recipe asks for that.
Task with_activations(const Task& task, const Reference& reference, const CompressRecipe& recipe,
                      std::uint64_t seed) {
  Task out = task;
  const quant::ActivationOptions options = recipe.activation_options();
  if (options.bits == 0) return out;
  const auto had = task.network.settings.find("activation_bits");
  check(had == task.network.settings.end(), "--activation-bits: the network's activations have ",
        had == task.network.settings.end() ? "" : had->second, " bits already");
  const auto data = options.kind == quant::ActivationOptions::Kind::dorefa
                        ? task.test  // not looked at
                        : calibration_data(task, reference, seed, recipe.batch);
  const auto quantized = quant::quantize_activations(task.network.network, *task.data.task,
                                                     reference.model.state, *data, options);
  if (!quantized->ranges().empty())
    out.data.attached[kActivationRanges] = quant::text(quantized->ranges());
  out.network.network = quantized;
  return out;
}

quant::CompressionPlan plan_for(const nn::Trainer& trainer, const State& weights,
                                const CompressRecipe& recipe, const Variant& variant) {
  const auto& states = trainer.states();
  check(recipe.bn_batches == 0 ||
            std::any_of(states.begin(), states.end(),
                        [](const auto& s) { return s.name.ends_with(".running_mean"); }),
        "--bn-reestimate: the network has no batch norm");
  quant::CompressionPlan plan =
      quant::plan_compression(trainer.parameters(), weights,
                              recipe.policy(variant.codebook, variant.group_rows, variant.sparse));
  quant::note_readers(nn::inference_graph(trainer), plan);
  return plan;
}

// Batch norms of the hardened model estimated anew, if the recipe asks for that. How many.
std::int64_t reestimate(const Task& task, const Reference& reference, const CompressRecipe& recipe,
                        std::uint64_t seed, Model& model) {
  if (recipe.bn_batches == 0) return 0;
  const auto data = calibration_data(task, reference, seed, recipe.batch);
  const quant::CalibrationSet samples(*data, recipe.bn_batches * recipe.batch);
  return quant::reestimate_batch_norm(model, samples, recipe.batch);
}

// The main metric of quantizing the reference once, without training.
double direct_value(const Task& task, const Reference& reference, const CompressRecipe& recipe,
                    const Variant& variant, std::uint64_t seed) {
  nn::Trainer trainer = trainer_at(task, reference, recipe.trainer(seed));
  const auto direct = quant::compressed(
      trainer, plan_for(trainer, trainer.state(), recipe, variant), quant::direct_compression());
  Model model = quant::harden(
      trainer, quant::with_entries(direct, quant::entry_types().parse(recipe.entries)));
  reestimate(task, reference, recipe, seed, model);
  return measure(model.graph, model.state, task.data).value();
}

// Everything is measured on the saved file.
void measure_file(const Task& task, const Reference& reference, const SavedModel& saved,
                  Compression& out) {
  Model model = load(saved.json, ops::standard_ops());
  model.graph.set_source("");  // this run wrote it
  out.after = measure(model.graph, model.state, task.data);
  out.weights_bytes = saved.weights_bytes;
  out.json_bytes = saved.json_bytes;
  const auto size = quant::size_report(model, saved.coded);
  out.bits_per_weight = size.bits_per_weight();
  out.entropy_bits = size.entropy_bits_per_weight();
  out.ratio = size.ratio();
  out.file_index_bytes = size.file_index_bytes();
  out.file_bits_per_weight = size.file_bits_per_weight();
  double numbers = 0;
  for (const auto& tensor : size.tensors) {
    out.index_bytes += tensor.index_bytes;
    out.codebook_bytes += tensor.codebook_bytes + tensor.scale_bytes;
    out.sparse_bytes += tensor.sparse_bytes;
    out.dense_bytes += tensor.dense_bytes;
    numbers += static_cast<double>(tensor.weights);
    out.tensors.push_back({tensor.name, tensor.shape.text(), tensor.encoding, tensor.weights,
                           tensor.file_index_bytes, tensor.codebook_bytes, tensor.scale_bytes,
                           tensor.sparse_bytes, tensor.dense_bytes});
  }
  out.effective_bits = 8 * static_cast<double>(saved.weights_bytes) / numbers;
  const Latency packed = measure_latency(model, {});
  out.packed_us = packed.us;
  out.kernel = packed.kernels;
  out.decoded = packed.decoded;
  out.dense_us = measure_latency(reference.model, {}).us;
  out.machine = this_machine();
}

}  // namespace

std::string Variant::scope() const {
  const std::string rows =
      group_rows == 0 ? "tensor" : cat(group_rows, group_rows == 1 ? " row" : " rows");
  return sparse > 0 ? cat(rows, " + ", exact(100 * sparse), " % sparse") : rows;
}
std::string Variant::text() const {
  return cat(method, ", ", codebook, group_rows == 0 && sparse == 0 ? "" : ", " + scope());
}
std::string Variant::slug() const {
  return cat(file_word(method), "-", file_word(codebook),
             group_rows == 0 ? "" : cat("-g", group_rows),
             sparse > 0 ? "-sparse" + exact(sparse) : "");
}

std::shared_ptr<const BatchSource> calibration_data(const Task& task, const Reference& reference,
                                                    std::uint64_t seed, std::int64_t batch) {
  if (!task.calibration) return training_data(task, seed, "none", batch);
  auto out =
      std::make_shared<quant::CalibrationSet>(*task.calibration, task.calibration->samples());
  out->draw_targets(*task.data.task, reference.model.graph, reference.model.state, seed);
  return out;
}

void require_data(const Task& task, const CompressRecipe& recipe,
                  const std::vector<Variant>& variants) {
  std::vector<std::string> train, look;
  const auto add = [](std::vector<std::string>& list, const std::string& word) {
    if (std::find(list.begin(), list.end(), word) == list.end()) list.push_back(word);
  };
  for (const Variant& variant : variants) {
    const auto method = recipe.method(variant.method);
    if (method.training) add(train, variant.method);
    if (!method.training && method.needs_data()) add(look, variant.method);
    if (SizeTarget::parse(variant.codebook)) add(look, "bit allocation");
  }
  if (recipe.activations.bits > 0 &&
      recipe.activation_options().kind != quant::ActivationOptions::Kind::dorefa)
    add(look, "--activation-bits");
  if (recipe.bn_batches > 0) add(look, "--bn-reestimate");
  const bool trains = task.data.train != nullptr;
  check(trains || train.empty(), task.data.text, ": there is nothing to train on, which ",
        listed(train), " would do");
  check(trains || task.calibration || look.empty(), task.data.text,
        ": there are no training samples, which ", listed(look),
        " would look at; --calibration DIR gives images of their own, without labels");
  if (!train.empty())
    training_data(task, 0, recipe.augment, recipe.batch);  // knows the augmentation, or Error
}

std::string plan_text(const Task& task, const CompressRecipe& recipe, const Variant& variant,
                      const State* weights) {
  const nn::Trainer trainer = make_trainer(task, recipe.trainer(0));
  const auto plan = plan_for(trainer, weights ? *weights : trainer.state(), recipe, variant);
  recipe.method(variant.method).require(plan);
  return plan.text();
}

Run compression_run(const Session& session, const Task& task, const Reference& reference,
                    const CompressRecipe& recipe, const Variant& variant, std::uint64_t seed,
                    const SaveOptions& form) {
  Config config = reference.model.settings;
  for (const auto& [key, value] : task.settings) config[key] = value;
  for (const auto& [key, value] : recipe.config(variant.method, variant.codebook)) {
    config[key] = value;
  }
  config["group_rows"] = std::to_string(variant.group_rows);
  if (variant.sparse > 0) config["sparse"] = exact(variant.sparse);
  if (task.calibration && (config.contains("calibration") || config.contains("bn_reestimate") ||
                           config.contains("activation_samples")))
    config["calibration_sha256"] = task.calibration_sha256;
  config["reference.seed"] = config.contains("seed") ? config["seed"] : "none";
  config["seed"] = std::to_string(seed);
  config["reference.weights_sha256"] = reference.weights_sha256;
  Run out{with_prefix(session, cat(variant.slug(), "-s", seed)), config};
  // The file's form is no part of the model, but a stored result tells the bytes of one.
  if (form.entropy_coded) out.config[kEntropyCoded] = "on";
  return out;
}

std::optional<Compression> finished_compression(const Session& session, const Run& run) {
  const auto found = results_of(session).find(run.name, run.config);
  if (!found || !fs::exists(session.path(run.name + ".json"))) return std::nullopt;
  return Compression::parse(*found, session.path(run.name + ".result").string());
}

Compression compress_reference(Session& session, const Task& given, const Reference& reference,
                               const CompressRecipe& recipe, const Variant& variant,
                               std::uint64_t seed, const SaveOptions& form) {
  const Task task = with_activations(given, reference, recipe, seed);
  const Run run = compression_run(session, task, reference, recipe, variant, seed, form);
  const std::string& name = run.name;
  Config config = run.config;
  config.erase(kEntropyCoded);
  const fs::path file = session.path(name + ".json"),
                 checkpoint = session.path(name + ".checkpoint");
  if (auto done = finished_compression(session, run)) {
    session.detail(cat(variant.text(), ", seed ", seed, ": already done, ", file.string(), "\n"));
    return *std::move(done);
  }
  session.begin_run(name,
                    {{"seed", seed},
                     {"method", variant.method},
                     {"codebook", variant.codebook},
                     {"group_rows", variant.group_rows},
                     {"sparse", variant.sparse}},
                    task.data.measured_on);
  Compression out;
  out.variant = variant;
  out.before = reference.test.value();
  session.detail(
      cat(variant.text(), ", seed ", seed, ", reference ", reference.test.metric().text(), "\n"));

  nn::TrainerOptions training = recipe.trainer(seed);
  training.ranks.communicator = session.communicator();
  nn::Trainer trainer = trainer_at(task, reference, training);
  const auto plan = plan_for(trainer, trainer.state(), recipe, variant);
  auto method = recipe.method(variant.method, seed);
  quant::CompressOptions options;
  options.checkpoint = checkpoint;
  options.checkpoint_seconds = session.out().checkpoint_seconds;
  options.resume = session.out().resume;
  options.config = config;
  options.test = task.test.get();
  options.test_name = task.data.measured_on;
  options.observer = session.observer();
  const auto data = !method.needs_data() ? task.test
                    : !method.training   ? calibration_data(task, reference, seed, recipe.batch)
                                         : training_data(task, seed, recipe.augment, recipe.batch);
  const auto done = quant::compress(trainer, *data, plan, method, options);
  if (!done.finished) throw Interrupted();
  if (!done.chosen.empty()) session.detail(cat("  chosen: ", done.chosen, "\n"));

  const quant::Codebooks codebooks =
      quant::with_entries(done.codebooks, quant::entry_types().parse(recipe.entries));
  Model model = quant::harden(trainer, codebooks);
  if (recipe.bn_batches > 0) {
    out.before_bn = measure(model.graph, model.state, task.data).value();
    const auto norms = reestimate(task, reference, recipe, seed, model);
    session.detail(cat("  ", norms, " batch norms estimated anew on ", recipe.bn_batches,
                       " batches; ", reference.test.metric().text(*out.before_bn), " before\n"));
  }
  model.settings = config;
  model.attached = task.data.attached;
  const SavedModel saved = save(model, file, form);
  out.file = saved.json.filename().string();
  out.seed = static_cast<std::int64_t>(seed);
  out.epochs = method.epochs();
  out.seconds = done.seconds;
  write_file(
      session.path(name + ".histograms.json"),
      json_text(weight_histograms(reference.model.state, trainer.state(), codebooks)) + "\n");
  out.distance = done.c_steps.empty() || recipe.entries != "f32"
                     ? quant::measured(trainer.state(), codebooks).distance
                     : done.c_steps.back().distance;
  measure_file(task, reference, saved, out);
  out.direct = variant.method == "dc" ? out.after.value()
                                      : direct_value(task, reference, recipe, variant, seed);
  session.detail(cat("  ", out.file, ": ", out.after.text(), "; reference ",
                     reference.test.metric().text(), ", DC ",
                     reference.test.metric().text(out.direct), "; ", out.weights_bytes, " + ",
                     out.json_bytes, " bytes\n"));
  results_of(session).store(name, run.config, out.json());
  session.log("result", out.json());
  remove_checkpoint(checkpoint);
  return out;
}

}  // namespace tessera::experiment
