// compare: methods at several codebooks and seeds from the same references and with the same
// epochs of training, as tables, JSON and a report.
#include <map>

#include "apps/common/cli.h"
#include "apps/common/comparison.h"
#include "apps/common/report/report.h"
#include "apps/common/step_time.h"
#include "apps/common/table.h"
#include "apps/common/verbs/verbs.h"
#include "core/files/model.h"
#include "core/interrupt.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace {

struct CompareFlags {
  NetworkFlags network;
  DataFlags data;
  RunFlags run;
  Recipes recipes;
  CodebookFlags codebooks;
  std::string seeds = "1", methods = "all", group_rows = "0", from;
  std::int64_t epochs;
  bool plan_only = false;

  CompareFlags(const Benchmark& benchmark, const std::string& net)
      : network(benchmark),
        data(benchmark),
        run(default_run(benchmark, net)),
        recipes(benchmark.recipes(net)),
        epochs(recipes.compress.lc.alternation.total_epochs()) {}

  bool parse(const Benchmark& benchmark, const Args& args) {
    po::options_description general("Flags");
    data.add_flags(general);
    network.add_flags(general);
    auto add = general.add_options();
    add("from", text_flag(from, "MODEL.json"),
        "dense model that all start from (default: trains one reference per seed)");
    add("seeds", text_flag(seeds, "LIST"), "seeds: 1,2,3");
    add("methods", text_flag(methods, "LIST"), "all, or several: dc,idc,lc");
    add("epochs", flag(epochs), "epochs of training of every method that trains");
    add("plan", po::bool_switch(&plan_only), "print every run with its expected time, and stop");
    codebooks.add_flags(general);
    add("group-rows", text_flag(group_rows, "LIST"),
        "one codebook per this many rows (output channels), or several: 0,8; 0: one per tensor");
    run.add_writing_flags(general);
    po::options_description compression("Compression; lengths are scaled to --epochs"),
        reference("Training of the reference");
    recipes.compress.add_flags(compression);
    recipes.train.add_flags(reference, "ref-");
    general.add(compression).add(reference);
    return parse_flags(args,
                       {benchmark.name + " compare [flags]",
                        "Compresses a network by several methods from the same references, with "
                        "the same epochs of training, and writes tables and report.html."},
                       general)
        .has_value();
  }
};

// Methods at one codebook and scope stand together; each has the recipe of its own schedule.
struct Planned {
  Variant variant;
  CompressRecipe recipe;
};

class Comparing {
 public:
  Comparing(Session& session, const Task& task, const CompareFlags& flags,
            std::vector<Planned> planned, std::optional<Reference> given)
      : session_(session),
        task_(task),
        flags_(flags),
        planned_(std::move(planned)),
        given_(std::move(given)) {}

  // What --resume would use was made by the same command, or Error. `seeds` as given.
  void require_resumable_all(const std::vector<std::uint64_t>& seeds) {
    for (const std::uint64_t seed : seeds) {
      if (given_) {
        require_resumable_variants(*given_, seed);
        continue;
      }
      const Run run = reference_run(session_, task_, flags_.recipes.train, seed);
      require_resumable(session_, run);
      if (auto done = finished_reference(session_, task_, run)) {
        require_resumable_variants(*done, seed);
        finished_.emplace(seed, *std::move(done));
      }
    }
  }

  // Every run with the time it will take.
  void print_plan(const std::vector<std::uint64_t>& seeds) {
    Table table({"run", "epochs", "steps", "ms/step", "expected", ""});
    double total = 0;
    const auto add = [&](const std::string& name, std::int64_t epochs, std::int64_t batch,
                         double step_seconds, const std::string& state) {
      const std::int64_t steps = epochs == 0 ? 0 : epochs * steps_per_epoch(task_, batch);
      const double seconds = static_cast<double>(steps) * step_seconds;
      if (state == "to do") total += seconds;
      table.add({name, std::to_string(epochs), std::to_string(steps), fixed(1e3 * step_seconds, 2),
                 duration_text(seconds), state});
    };
    const TrainRecipe& train = flags_.recipes.train;
    const double reference_seconds = given_ ? 0 : reference_step_seconds(task_, train);
    const State fresh =
        nn::Trainer(task_.network.module, task_.network.sample, task_.data.classes).state().clone();
    for (const std::uint64_t seed : seeds) {
      const auto found = finished_.find(seed);
      const Reference* reference = given_                     ? &*given_
                                   : found != finished_.end() ? &found->second
                                                              : nullptr;
      if (!given_) {
        add(reference_run(session_, task_, train, seed).name, train.epochs, train.batch,
            reference_seconds, reference ? "done" : "to do");
      }
      for (const Planned& p : planned_) {
        std::string name = cat(p.variant.slug(), "-s", seed), state = "to do";
        if (!session_.flags().name.empty()) name = session_.flags().name + "-" + name;
        if (reference &&
            finished_compression(session_, compression_run(session_, task_, *reference, p.recipe,
                                                           p.variant, seed))) {
          state = "done";
        }
        double seconds = 0;
        try {
          seconds = step_seconds(p, reference ? reference->model.state : fresh);
        } catch (const Error& error) {
          state = cat("PROBLEM ", error.what());
        }
        add(name, p.recipe.method(p.variant.method)->epochs(), p.recipe.batch, seconds, state);
      }
    }
    table.print(session_.text());
    session_.text() << "Expected for what is to do: " << duration_text(total)
                    << " of training steps, as measured now; C steps, evaluations and measuring "
                       "come on top.\n";
  }

  // All runs. False when interrupted.
  bool run(const std::vector<std::uint64_t>& seeds) {
    for (const std::uint64_t seed : seeds) {
      const auto found = finished_.find(seed);
      std::optional<Reference> trained;
      if (!given_ && found == finished_.end()) {
        trained = train_reference(session_, task_, flags_.recipes.train, seed);
        if (!trained) return false;
      }
      const Reference& reference = given_                     ? *given_
                                   : found != finished_.end() ? found->second
                                                              : *trained;
      if (found != finished_.end()) {
        session_.detail() << "reference, seed " << seed << ": already in "
                          << reference.file.string() << ", " << reference.test.text() << "\n";
      }
      require_resumable_variants(reference, seed);
      for (const Planned& p : planned_) {
        if (interrupted() || !run(p, reference, seed)) return false;
      }
      finished_.erase(seed);
    }
    return true;
  }

  const std::vector<ComparedRun>& runs() const { return runs_; }

 private:
  void require_resumable_variants(const Reference& reference, std::uint64_t seed) const {
    for (const Planned& p : planned_) {
      require_resumable(session_,
                        compression_run(session_, task_, reference, p.recipe, p.variant, seed));
    }
  }

  // Measured once per method.
  double step_seconds(const Planned& p, const State& weights) {
    const auto& [variant, recipe] = p;
    const auto found = step_seconds_.find(variant.method);
    plan_text(task_, recipe, variant, &weights);  // what cannot work is a problem of its run
    if (found != step_seconds_.end()) return found->second;
    return step_seconds_[variant.method] = method_step_seconds(
               task_, weights, recipe, variant.method, variant.codebook, variant.group_rows);
  }

  // What is wrong with one run is told with the results; the others go on.
  bool run(const Planned& p, const Reference& reference, std::uint64_t seed) {
    Run run = compression_run(session_, task_, reference, p.recipe, p.variant, seed);
    ComparedRun out{run.name, p.variant, static_cast<std::int64_t>(seed), run.config, {}, ""};
    try {
      out.result = compress_reference(session_, task_, reference, p.recipe, p.variant, seed);
      if (!out.result) return false;
    } catch (const Error& error) {
      out.problem = error.what();
      session_.detail() << "PROBLEM " << run.name << ": " << out.problem << std::endl;
      session_.log("problem", {{"problem", out.problem}});
      Results(session_.flags().out, true).store_problem(run.name, run.config, out.problem);
    }
    runs_.push_back(std::move(out));
    return true;
  }

  Session& session_;
  const Task& task_;
  const CompareFlags& flags_;
  std::vector<Planned> planned_;
  std::optional<Reference> given_;
  std::map<std::uint64_t, Reference> finished_;
  std::map<std::string, double> step_seconds_;
  std::vector<ComparedRun> runs_;
};

// Every method at every codebook and scope; known and with a schedule, or Error.
std::vector<Planned> planned_runs(const CompareFlags& flags) {
  const auto names = flags.methods == "all" ? CompressRecipe::method_names()
                                            : word_list(flags.methods, "--methods");
  std::map<std::string, CompressRecipe> recipes;
  for (const auto& name : names) {
    recipes.emplace(name, flags.recipes.compress.with_epochs(name, flags.epochs));
  }
  std::vector<Planned> out;
  for (const auto& codebook : flags.codebooks.codebooks()) {
    for (const auto rows : integer_list(flags.group_rows, "--group-rows", 0, 1 << 30)) {
      for (const auto& name : names) out.push_back({{name, codebook, rows}, recipes.at(name)});
    }
  }
  return out;
}

std::vector<std::uint64_t> seed_list(const std::string& text) {
  std::vector<std::uint64_t> out;
  for (const std::int64_t seed : integer_list(text, "--seeds", 0, 1'000'000'000)) {
    out.push_back(static_cast<std::uint64_t>(seed));
  }
  return out;
}

}  // namespace

int compare_verb(const Benchmark& benchmark, const Args& args) {
  const std::string net = NetworkFlags::peek(benchmark, args);
  CompareFlags flags(benchmark, net);
  if (!flags.parse(benchmark, args)) return kExitDone;
  flags.recipes.compress.validate();
  flags.recipes.train.validate("ref-");
  flags.network.validate();
  flags.data.validate();
  const auto seeds = seed_list(flags.seeds);
  auto planned = planned_runs(flags);
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
  Comparing comparing(session, task, flags, std::move(planned), std::move(given));
  comparing.require_resumable_all(seeds);
  if (flags.plan_only) {
    session.text() << text(task.network) << " on " << task.data.text << "\n";
    comparing.print_plan(seeds);
    return kExitDone;
  }
  session.open_outputs();
  session.detail() << text(task.network) << " on " << task.data.text << std::endl;
  if (!comparing.run(seeds)) return session.interrupted_exit();

  const auto& runs = comparing.runs();
  print_comparison(session.text(), runs);
  std::vector<std::string> names, lines = problems(task.data);
  for (const ComparedRun& run : runs) {
    names.push_back(run.name);
    if (!run.result) lines.push_back(cat(run.name, ": ", run.problem));
  }
  if (flags.from.empty()) {
    for (const auto seed : seeds) {
      names.push_back(reference_run(session, task, flags.recipes.train, seed).name);
    }
  }
  const auto report = session.path("report.html");
  write_report(load_report(flags.run.out, names), report);
  session.text() << "Report: " << report.string() << "\n";
  session.json() = comparison_json(runs);
  session.json()["verb"] = "compare";
  session.json()["epochs"] = flags.epochs;
  session.json()["data"] = task.data.text;
  session.json().update(task.network.settings);
  if (!lines.empty()) session.json()["problems"] = lines;
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
