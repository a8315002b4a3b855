#include "apps/verbs/compression_flags.h"

#include <algorithm>
#include <filesystem>

#include "apps/verbs/presets.h"
#include "core/files/model.h"
#include "core/files/sha256.h"
#include "core/words.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace {

DataFlags& with_settings_of_from(CompressionFlags& flags) {
  if (!flags.from.empty()) {
    const Model model = load(flags.from, ops::standard_ops());
    flags.network.take(model.settings, flags.from);
    flags.data.take(model);
    flags.data.take_validation(model.settings);
  }
  return flags.data;
}

}  // namespace

CompressionFlags::CompressionFlags(const Benchmark& benchmark, const Args& args)
    : network(benchmark),
      data(benchmark),
      run(default_run(benchmark, NetworkFlags::peek(benchmark, args))),
      recipes(benchmark.recipes(NetworkFlags::peek(benchmark, args))),
      calibration_help(benchmark.calibration_help) {}

void CompressionFlags::add_first(FlagList& general) {
  data.add_flags(general);
  data.add_validation_flag(general);
  network.add_flags(general);
  auto add = general.add_options();
  add("from", text_flag(from, "MODEL.json"),
      "dense model to start from (default: one reference per seed, trained unless it is in --out)");
  add("seed", text_flag(seeds, "LIST"), "of initial weights and batch order, or several: 1,2,3");
  add("method", text_flag(methods, "LIST"),
      ("all, or several of " + listed(quant::method_names()) +
       " (twn and ttq take 2 bits); joined by '+' they "
       "follow each other, and r2 and kd go beside: lnq+dkm, lc+dkm, r2+lsq, mocq+kd")
          .c_str());
  codebooks.add_flags(general);
  add("calibration", text_flag(calibration, "DIR"),
      ("images without labels for fisher, adaround, activation ranges, bit allocation and "
       "--bn-reestimate, instead of training samples: " +
       calibration_help)
          .c_str());
  add("group-rows", text_flag(group_rows, "LIST"),
      "one codebook per this many rows (output channels), or several: 0,8; 0: one per tensor");
  add("sparse", text_flag(sparse, "LIST"),
      "share of each weight tensor kept exactly by a sparse correction, or several: 0,0.01");
  add("plan", on_flag(plan_only), "print what would be done, and stop");
}

void CompressionFlags::add_last(FlagList& general, const std::string& compression) {
  run.add_writing_flags(general);
  FlagList own(compression), reference("Training of the reference");
  recipes.compress.add_flags(own);
  recipes.train.add_flags(reference, "ref-");
  network.add_activation_flags(reference, "ref-");
  general.add(own).add(reference);
}

std::optional<std::vector<std::string>> CompressionFlags::parse(const Args& args,
                                                                const Usage& usage,
                                                                FlagList& general) const {
  const std::string preset = peek_flag(args, "preset");
  auto words = parse_flags(
      preset.empty() ? args : with_preset(preset, canonical_flags(args, general), general), usage,
      general);
  for (const std::string& name : general.given()) {
    // What activations the reference has is compared with the model's settings.
    check(from.empty() || !name.starts_with("ref-") || name.starts_with("ref-activation"), "--",
          name, " is of a reference that is trained; --from ", from, " is taken as it is");
  }
  return words;
}

void CompressionFlags::validate() const {
  recipes.compress.validate();
  recipes.train.validate("ref-");
  network.validate();
  data.validate();
}

std::vector<std::string> CompressionFlags::method_names() const {
  if (methods == "all") return quant::method_names();
  const auto names = distinct(word_list(methods, "--method"), "--method");
  for (const auto& name : names) quant::method_row(name);
  return names;
}

std::vector<std::uint64_t> CompressionFlags::seed_list() const {
  std::vector<std::uint64_t> out;
  const auto numbers = integer_list(seeds, "--seed", 0, 1'000'000'000);
  for (const std::int64_t seed : distinct(numbers, "--seed")) {
    out.push_back(static_cast<std::uint64_t>(seed));
  }
  return out;
}

std::vector<Variant> CompressionFlags::variants(const std::vector<std::string>& names) const {
  const auto groups = integer_list(group_rows, "--group-rows", 0, 1 << 30);
  const auto shares = number_list(sparse, "--sparse", 0, 0.5);
  distinct(groups, "--group-rows");
  distinct(shares, "--sparse");
  check(recipes.compress.shared.empty() ||
            (codebooks.target_bpw.empty() && codebooks.target_size.empty()),
        "--share gives tensors one codebook, --target-bpw and --target-size each its own; they "
        "exclude each other");
  std::vector<Variant> out;
  const auto kinds = codebooks.codebooks();
  for (const auto& codebook : distinct(kinds, "codebooks")) {
    for (const std::int64_t rows : groups) {
      for (const double share : shares) {
        for (const auto& name : names) out.push_back({name, codebook, rows, share});
      }
    }
  }
  return out;
}

CompressionWork::CompressionWork(CompressionFlags& flags)
    : session(flags.run),
      data(with_settings_of_from(flags).load(flags.network.inputs())),
      task(make_task(data, flags.network.build(*data.task))) {
  if (!flags.calibration.empty()) {
    check(std::filesystem::is_directory(flags.calibration), "--calibration ", flags.calibration,
          ": no such folder; it takes a ", flags.calibration_help,
          " (--calibration-samples is how many of them)");
    check(data.unlabelled != nullptr, "--calibration: ", data.text, " takes none");
    const CompressRecipe& recipe = flags.recipes.compress;
    const auto images = data.unlabelled(flags.calibration);
    task.calibration = std::make_shared<quant::CalibrationSet>(
        *images, std::max(recipe.calibration_samples(), recipe.bn_batches * recipe.batch));
    const Tensor& x = task.calibration->tensors().at("x");
    task.calibration_sha256 = sha256_hex({x.data(), static_cast<std::size_t>(x.bytes())});
  }
  if (!flags.from.empty()) given = load_reference(task, flags.from);
}

void CompressionWork::require_references(const CompressionFlags& flags) const {
  if (given) return;
  for (const std::uint64_t seed : flags.seed_list()) {
    const Run run = reference_run(session, task, flags.recipes.train, seed);
    require_usable_reference(session, run);
    if (std::filesystem::exists(session.path(run.name + ".json"))) continue;
    training_data(task, seed, flags.recipes.train.augment, flags.recipes.train.batch);
  }
}

}  // namespace tessera::apps
