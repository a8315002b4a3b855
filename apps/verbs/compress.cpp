// compress: every method, codebook and scope asked for, from one reference per seed.
#include "apps/verbs/compression_flags.h"
#include "apps/verbs/presets.h"
#include "apps/verbs/verbs.h"
#include "core/interrupt.h"
#include "experiment/allocation.h"
#include "experiment/compression_summary.h"
#include "report/compression_tables.h"

namespace tessera::apps {

namespace {

// The plan of each codebook and scope once, when every method can carry it out. With a reference
// the tensors of a size that is asked for have the bits they will get, which are measured now.
std::string plans_text(const Task& task, const CompressRecipe& recipe,
                       const std::vector<Variant>& variants, BitAllocator& bits,
                       const Reference* reference, bool allocate, std::uint64_t seed) {
  const State* weights = reference ? &reference->model.state : nullptr;
  std::string out;
  for (const Variant& variant : variants) {
    const std::string least = bits.require(recipe, variant, weights);
    const bool known = allocate && reference;
    const CompressRecipe own = known ? bits.recipe(*reference, recipe, variant, seed) : recipe;
    const std::string text = plan_text(task, own, variant, weights);
    if (variant.method != variants.front().method) continue;
    out += cat("Plan, ", variant.codebook,
               variant.group_rows || variant.sparse > 0 ? ", " + variant.scope() : "", ":\n", text);
    if (least.empty() || known) continue;
    out += cat("  These are the least: ", least, ". Which tensors get more is ",
               reference ? "measured on the reference when it begins"
                         : "measured on the reference, which is to be trained first",
               "; --plan with a reference shows it.\n");
  }
  return out;
}

// Whether every variant can begin at an untrained network. Throws Error.
void require_trainable(const CompressionFlags& flags, const std::vector<Variant>& variants) {
  const CompressRecipe& recipe = flags.recipes.compress;
  check(flags.from.empty(), "--from-scratch and --from exclude each other");
  check(recipe.activations.bits == 0 || recipe.activations.quantizer == "dorefa",
        "--from-scratch: the ranges of --activation-quantizer ", recipe.activations.quantizer,
        " are calibrated with trained weights; dorefa needs none");
  for (const Variant& variant : variants) {
    check(quant::method_row(variant.method).trains(), "--from-scratch: ", variant.method,
          " does not train");
    check(!SizeTarget::parse(variant.codebook),
          "--from-scratch: --target-bpw and --target-size measure a trained network");
  }
}

}  // namespace

int compress_verb(const Benchmark& benchmark, const Args& args) {
  CompressionFlags flags(benchmark, args);
  flags.methods = "lc";
  bool entropy_coded = false, from_scratch = false;
  std::string preset;  // CompressionFlags::parse has put its flags among the others
  FlagList general("Flags");
  flags.add_first(general);
  flags.codebooks.add_target_flags(general);
  general.add_options()("preset", text_flag(preset, "NAME"), preset_help().c_str());
  general.add_options()("from-scratch", on_flag(from_scratch),
                        "start at an untrained network for each seed instead of a reference; for "
                        "methods that train");
  general.add_options()("entropy-coded", on_flag(entropy_coded),
                        "entropy-code the indices in the file; what is loaded stays the same");
  flags.add_last(general, "Compression");
  const std::string start = benchmark.name + " compress ";
  const Usage usage{
      .line = start + "[flags]",
      .about = "Compresses a network, saves the packed model, loads it and measures it.",
      .examples = {start + "--method lc --bits 1,2 --seed 1,2,3",
                   start + "--from MODEL.json --method dc --codebook nf4@64",
                   start + "--from MODEL.json --method fisher --target-bpw 3 --plan",
                   start + "--method lc --bits 2 --policy first-last-8 --rule '.*bias=skip'"}};
  if (!flags.parse(args, usage, general)) return kExitDone;
  flags.validate();
  const CompressRecipe& recipe = flags.recipes.compress;
  const auto seeds = flags.seed_list();
  const auto variants = flags.variants(flags.method_names());
  if (from_scratch) require_trainable(flags, variants);
  CompressionWork work(flags);
  Session& session = work.session;
  const Task& task = work.task;
  const std::optional<Reference>& given = work.given;
  // All that the runs need is asked before any work.
  require_data(task, recipe, variants);
  if (!flags.plan_only && !from_scratch) work.require_references(flags);
  BitAllocator bits(session, task, /*keep=*/!flags.plan_only);
  std::optional<Reference> there;
  if (flags.plan_only && !given && !from_scratch) {
    there = existing_reference(session, task,
                               reference_run(session, task, flags.recipes.train, seeds.front()));
  }
  const Reference* reference = given ? &*given : there ? &*there : nullptr;
  const std::string plans =
      plans_text(task, recipe, variants, bits, reference, flags.plan_only, seeds.front());
  (flags.plan_only ? session.text() : session.detail()) << "Data: " << task.data.text << "\n"
                                                        << plans << std::flush;
  if (flags.plan_only) return kExitDone;
  session.open_outputs();

  std::vector<Compression> rows;
  for (const std::uint64_t seed : seeds) {
    std::optional<Reference> trained;
    if (from_scratch) {
      trained = untrained(task, seed);
    } else if (!given) {
      trained = reference_for(session, task, flags.recipes.train, seed);
    }
    const Reference& from = given ? *given : *trained;
    for (const Variant& variant : variants) {
      stop_if_interrupted();
      rows.push_back(compress_reference(session, task, from,
                                        bits.recipe(from, recipe, variant, seed), variant, seed,
                                        {.entropy_coded = entropy_coded}));
    }
  }
  print_compressions(session.text(), rows);
  session.json() = compressions_json(rows);
  session.json().update(bits.json());
  session.json()["verb"] = "compress";
  session.json()["data"] = task.data.text;
  session.json().update(task.network.settings);
  session.report_problems(problems(task.data));
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
