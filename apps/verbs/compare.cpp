// compare: methods at several codebooks and seeds from the same references and with the same
// epochs of training, as tables, JSON and a report.
#include <algorithm>
#include <map>

#include "apps/verbs/compression_flags.h"
#include "apps/verbs/verbs.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "experiment/allocation.h"
#include "experiment/comparison.h"
#include "experiment/step_time.h"
#include "report/comparison_tables.h"
#include "report/html/report.h"
#include "report/table.h"

namespace tessera::apps {

namespace {

// Methods at one codebook and scope stand together; each has the recipe of its own schedule.
struct Planned {
  Variant variant;
  CompressRecipe recipe;
};

class Comparing {
 public:
  Comparing(CompressionWork& work, const CompressionFlags& flags, std::vector<Planned> planned)
      : session_(work.session),
        task_(work.task),
        flags_(flags),
        planned_(std::move(planned)),
        given_(work.given),
        bits_(work.session, work.task, /*keep=*/!flags.plan_only) {}

  // What every run needs is there, or Error.
  void require_all() const {
    std::vector<Variant> variants;
    for (const Planned& p : planned_) variants.push_back(p.variant);
    require_data(task_, flags_.recipes.compress, variants);
    for (const Planned& p : planned_) {
      bits_.require(p.recipe, p.variant, given_ ? &given_->model.state : nullptr);
    }
  }

  // What --resume would use was made by the same command, or Error. `seeds` as given.
  void require_resumable_all(const std::vector<std::uint64_t>& seeds) {
    for (const std::uint64_t seed : seeds) {
      if (given_) {
        require_resumable_variants(*given_, seed, false);
        continue;
      }
      const Run run = reference_run(session_, task_, flags_.recipes.train, seed);
      if (auto done = existing_reference(session_, task_, run)) {
        require_resumable_variants(*done, seed, false);
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
    const State fresh = make_trainer(task_).state().clone();
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
        if (reference && finished_compression(session_, run_of(p, *reference, seed)))
          state = "done";
        double seconds = 0;
        try {
          seconds = step_seconds(p, reference ? reference->model.state : fresh);
        } catch (const Error& error) {
          state = cat("PROBLEM ", error.what());
        }
        add(name, p.recipe.method(p.variant.method).epochs(), p.recipe.batch, seconds, state);
      }
    }
    table.print(session_.text());
    session_.text() << "Expected for what is to do: " << duration_text(total)
                    << " of training steps, as measured now; C steps, evaluations and measuring "
                       "come on top.\n";
  }

  // All runs.
  void run(const std::vector<std::uint64_t>& seeds) {
    for (const std::uint64_t seed : seeds) {
      const auto found = finished_.find(seed);
      std::optional<Reference> trained;
      if (!given_ && found == finished_.end()) {
        trained = reference_for(session_, task_, flags_.recipes.train, seed);
      }
      const Reference& reference = given_                     ? *given_
                                   : found != finished_.end() ? found->second
                                                              : *trained;
      require_resumable_variants(reference, seed, true);
      for (const Planned& p : planned_) {
        stop_if_interrupted();
        run(p, reference, seed);
      }
      finished_.erase(seed);
    }
  }

  const std::vector<ComparedRun>& runs() const { return runs_; }
  const Json& allocations() const { return bits_.json(); }

 private:
  // `sizes`: also those that ask for a size, whose bits by tensor are measured for that.
  void require_resumable_variants(const Reference& reference, std::uint64_t seed, bool sizes) {
    for (const Planned& p : planned_) {
      if (sizes || !SizeTarget::parse(p.variant.codebook))
        require_resumable(session_, run_of(p, reference, seed));
    }
  }

  CompressRecipe recipe_of(const Planned& p, const Reference& reference, std::uint64_t seed) {
    return bits_.recipe(reference, p.recipe, p.variant, seed);
  }
  Run run_of(const Planned& p, const Reference& reference, std::uint64_t seed) {
    return compression_run(session_, task_, reference, recipe_of(p, reference, seed), p.variant,
                           seed);
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
  void run(const Planned& p, const Reference& reference, std::uint64_t seed) {
    const CompressRecipe recipe = recipe_of(p, reference, seed);
    Run run = compression_run(session_, task_, reference, recipe, p.variant, seed);
    ComparedRun out{run.name, p.variant, static_cast<std::int64_t>(seed), run.config, {}, ""};
    try {
      out.result = compress_reference(session_, task_, reference, recipe, p.variant, seed);
    } catch (const Error& error) {
      out.problem = error.what();
      session_.detail() << "PROBLEM " << run.name << ": " << out.problem << std::endl;
      session_.log("problem", {{"problem", out.problem}});
      Results(session_.flags().out, Results::Existing::reuse)
          .store_problem(run.name, run.config, out.problem);
    }
    runs_.push_back(std::move(out));
  }

  Session& session_;
  const Task& task_;
  const CompressionFlags& flags_;
  std::vector<Planned> planned_;
  const std::optional<Reference>& given_;
  BitAllocator bits_;
  std::map<std::uint64_t, Reference> finished_;
  std::map<std::string, double> step_seconds_;
  std::vector<ComparedRun> runs_;
};

// Every method at every codebook and scope; known and with a schedule, or Error.
std::vector<Planned> planned_runs(const CompressionFlags& flags, std::int64_t epochs) {
  const auto names = flags.method_names();
  std::map<std::string, CompressRecipe> recipes;
  for (const auto& name : names) {
    recipes.emplace(name, flags.recipes.compress.with_epochs(name, epochs));
  }
  std::vector<Planned> out;
  for (const Variant& variant : flags.variants(names)) {
    out.push_back({variant, recipes.at(variant.method)});
  }
  return out;
}

}  // namespace

int compare_verb(const Benchmark& benchmark, const Args& args) {
  CompressionFlags flags(benchmark, args);
  flags.methods = "all";
  std::int64_t epochs = flags.recipes.compress.method("lc").epochs();
  FlagList general("Flags");
  flags.add_first(general);
  flags.codebooks.add_target_flags(general);
  general.add_options()("epochs", flag(epochs), "epochs of training of every method that trains");
  flags.add_last(general, "Compression; lengths are scaled to --epochs");
  const std::string start = benchmark.name + " compare ";
  const Usage usage{
      .line = start + "[flags]",
      .about =
          "Compresses a network by several methods from the same references, with the same epochs "
          "of "
          "training, and writes tables and report.html.",
      .examples = {start + "--method dc,idc,lc --bits 1,2 --epochs 30 --plan",
                   start + "--from MODEL.json --method all --bits 2 --seed 1,2,3 --resume"}};
  if (!flags.parse(args, usage, general)) return kExitDone;
  flags.validate();
  const auto seeds = flags.seed_list();
  auto planned = planned_runs(flags, epochs);
  CompressionWork work(flags);
  Session& session = work.session;
  const Task& task = work.task;
  Comparing comparing(work, flags, std::move(planned));
  comparing.require_all();
  if (!flags.plan_only) work.require_references(flags);
  comparing.require_resumable_all(seeds);
  if (flags.plan_only) {
    session.text() << text(task.network) << " on " << task.data.text << "\n";
    comparing.print_plan(seeds);
    return kExitDone;
  }
  session.open_outputs();
  session.detail() << text(task.network) << " on " << task.data.text << std::endl;
  comparing.run(seeds);

  const auto& runs = comparing.runs();
  print_comparison(session.text(), runs);
  session.report_problems(problems(task.data));
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
  session.json().update(comparing.allocations());
  session.json()["verb"] = "compare";
  session.json()["epochs"] = epochs;
  session.json()["data"] = task.data.text;
  session.json().update(task.network.settings);
  if (!lines.empty()) session.json()["problems"] = lines;
  session.finish();
  const bool any = std::any_of(runs.begin(), runs.end(), [](const auto& r) { return r.result; });
  return any ? kExitDone : kExitBadInput;
}

}  // namespace tessera::apps
