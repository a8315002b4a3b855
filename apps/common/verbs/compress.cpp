// compress: every method, codebook and scope asked for, from one reference per seed.
#include "apps/common/allocation.h"
#include "apps/common/cli.h"
#include "apps/common/compression_report.h"
#include "apps/common/verbs/verbs.h"
#include "core/files/model.h"
#include "core/interrupt.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace {

struct CompressFlags {
  NetworkFlags network;
  DataFlags data;
  RunFlags run;
  Recipes recipes;
  CodebookFlags codebooks;
  std::string seeds = "1", methods = "lc", group_rows = "0", sparse = "0", from;
  bool plan_only = false, entropy_coded = false;

  CompressFlags(const Benchmark& benchmark, const std::string& net)
      : network(benchmark),
        data(benchmark),
        run(default_run(benchmark, net)),
        recipes(benchmark.recipes(net)) {}

  bool parse(const Benchmark& benchmark, const Args& args) {
    po::options_description general("Flags");
    data.add_flags(general);
    network.add_flags(general);
    auto add = general.add_options();
    add("from", text_flag(from, "MODEL.json"),
        "dense model to compress (default: trains the reference first)");
    add("seed", text_flag(seeds, "N"), "seed, or several: 1,2,3");
    add("method", text_flag(methods, "LIST"),
        "dc, fisher, adaround, idc, lc, lc-qp, or several: dc,idc,lc");
    add("plan", po::bool_switch(&plan_only), "print what would be compressed how, and stop");
    codebooks.add_flags(general);
    codebooks.add_target_flags(general);
    add("group-rows", text_flag(group_rows, "LIST"),
        "one codebook per this many rows (output channels), or several: 0,8; 0: one per tensor");
    add("entropy-coded", po::bool_switch(&entropy_coded),
        "entropy-code the indices in the file; what is loaded stays the same");
    add("sparse", text_flag(sparse, "LIST"),
        "share of each weight tensor kept exactly by a sparse correction, or several: 0,0.01");
    run.add_writing_flags(general);
    po::options_description compression("Compression"), reference("Training of the reference");
    recipes.compress.add_flags(compression);
    recipes.train.add_flags(reference, "ref-");
    general.add(compression).add(reference);
    // The plural reads better for a list and means the same.
    Args spelled = args;
    for (std::string& arg : spelled) {
      for (const std::string name : {"--seed", "--method"}) {
        if (arg == name + "s") arg = name;
        if (arg.starts_with(name + "s=")) arg.erase(name.size(), 1);
      }
    }
    return parse_flags(spelled,
                       {benchmark.name + " compress [flags]",
                        "Compresses a network, saves the packed model, loads it and measures it."},
                       general)
        .has_value();
  }

  // Every method at every codebook and scope; known, or Error.
  std::vector<Variant> variants() const {
    std::vector<Variant> out;
    const auto names = word_list(methods, "--method");
    for (const auto& name : names) recipes.compress.method(name);
    const auto groups = integer_list(group_rows, "--group-rows", 0, 1 << 30);
    const auto shares = number_list(sparse, "--sparse", 0, 0.5);
    check(recipes.compress.shared.empty() ||
              (codebooks.target_bpw.empty() && codebooks.target_size.empty()),
          "--share gives tensors one codebook, --target-bpw and --target-size each its own; they "
          "exclude each other");
    for (const auto& codebook : codebooks.codebooks()) {
      for (const std::int64_t rows : groups) {
        for (const double share : shares) {
          for (const auto& name : names) out.push_back({name, codebook, rows, share});
        }
      }
    }
    return out;
  }
};

// The plan of each codebook and scope once, when every method can carry it out.
std::string plans_text(const Task& task, const CompressRecipe& recipe,
                       const std::vector<Variant>& variants, const State* weights) {
  std::string out;
  for (const Variant& variant : variants) {
    const std::string text = plan_text(task, recipe, variant, weights);
    if (variant.method != variants.front().method) continue;
    out += cat("Plan, ", variant.codebook,
               variant.group_rows || variant.sparse > 0 ? ", " + variant.scope() : "",
               SizeTarget::parse(variant.codebook) ? ", before tensors get more bits" : "", ":\n",
               text);
  }
  return out;
}

}  // namespace

int compress_verb(const Benchmark& benchmark, const Args& args) {
  const std::string net = NetworkFlags::peek(benchmark, args);
  CompressFlags flags(benchmark, net);
  if (!flags.parse(benchmark, args)) return kExitDone;
  const CompressRecipe& recipe = flags.recipes.compress;
  recipe.validate();
  flags.recipes.train.validate("ref-");
  flags.network.validate();
  flags.data.validate();
  const auto seeds = integer_list(flags.seeds, "--seed", 0, 1'000'000'000);
  const auto variants = flags.variants();
  if (!flags.from.empty()) {
    const auto settings = load(flags.from, ops::standard_ops()).settings;
    flags.network.take(settings, flags.from);
    flags.data.take(settings);
  }
  Session session(flags.run);
  Data loaded = flags.data.load(flags.network.sample());
  const Task task = make_task(loaded, flags.network.build(loaded.classes));
  std::optional<Reference> given;
  if (!flags.from.empty()) given = load_reference(task, flags.from);
  // Made before any work, so that what cannot work ends here.
  const std::string plans =
      plans_text(task, recipe, variants, given ? &given->model.state : nullptr);
  (flags.plan_only ? session.text() : session.detail()) << "Data: " << task.data.text << "\n"
                                                        << plans << std::flush;
  if (flags.plan_only) return kExitDone;
  session.open_outputs();

  std::vector<Compression> rows;
  BitAllocator bits(session, task);
  for (const std::int64_t number : seeds) {
    const auto seed = static_cast<std::uint64_t>(number);
    std::optional<Reference> trained;
    if (!given) {
      trained = train_reference(session, task, flags.recipes.train, seed);
      if (!trained) return session.interrupted_exit();
    }
    for (const Variant& variant : variants) {
      if (interrupted()) return session.interrupted_exit();
      const Reference& reference = given ? *given : *trained;
      auto row = compress_reference(session, task, reference,
                                    bits.recipe(reference, recipe, variant, seed), variant, seed,
                                    {.entropy_coded = flags.entropy_coded});
      if (!row) return session.interrupted_exit();
      rows.push_back(*std::move(row));
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
