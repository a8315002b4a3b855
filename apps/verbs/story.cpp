// Without a verb: train, compress, save, load in a fresh process, run packed, print.
#include <chrono>

#include "apps/cli/cli.h"
#include "apps/cli/self.h"
#include "apps/verbs/verbs.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/text.h"
#include "experiment/compression_summary.h"
#include "report/compression_tables.h"
#include "report/table.h"

namespace tessera::apps {

namespace {

// What a process that knows only the file measures of it.
Measured measured_in_fresh_process(const std::filesystem::path& file, const std::string& data,
                                   bool packed_only) {
  Args args = {"eval",   file.string(), "--quiet",
               "--json", "-",           "--data",
               data,     "--threads",   std::to_string(num_threads())};
  if (packed_only) args.push_back("--packed-only");
  const Finished child = run_self(args);
  check(child.exit_code == 0, "evaluating ", file.string(),
        " in a fresh process ended with exit code ", child.exit_code);
  const Json json = parse_json(child.output, "eval of " + file.string());
  return Measured::parse(JsonAt(json, "eval of " + file.string()));
}

}  // namespace

int story_verb(const Benchmark& benchmark, const Args& args) {
  const auto start = std::chrono::steady_clock::now();
  const Story& story = *benchmark.story;
  NetworkFlags network(benchmark, story.network);
  DataFlags data(benchmark);
  data.from = "synthetic";
  RunFlags run = default_run(benchmark, story.network);
  run.name = "story";
  TrainRecipe training = story.recipes.train;
  CompressRecipe recipe = story.recipes.compress;
  std::string seed_text = "1";
  FlagList options("Flags");
  data.add_flags(options);
  network.add_flags(options);
  auto add = options.add_options();
  add("seed", text_flag(seed_text, "N"), "of initial weights and batch order");
  add("ref-epochs", flag(training.epochs), "epochs of the reference");
  for (const char* name : {"lc-steps", "lc-epochs", "first-epochs"})
    options.add(recipe.methods, name);
  run.add_writing_flags(options);
  const Usage usage{
      .line = benchmark.name + " [flags]",
      .about = story.about + ".",
      .examples = {benchmark.name, benchmark.name + " --data DIR --out out/story --seed 2"}};
  if (!parse_flags(args, usage, options)) return kExitDone;
  training.validate("ref-");
  recipe.validate();
  network.validate();
  data.validate();
  const auto seed =
      static_cast<std::uint64_t>(integer_list(seed_text, "--seed", 0, 1'000'000'000)[0]);
  Session session(run);
  Data loaded = data.load(network.inputs());
  const Task task = make_task(loaded, network.build(*loaded.task));
  session.open_outputs();
  session.text() << text(task.network) << " on " << task.data.text << std::endl;

  const Reference reference = train_reference(session, task, training, seed);
  std::vector<Compression> rows;
  std::int64_t agreeing = 0;
  for (const auto& codebook : story.codebooks) {
    for (const auto& method : story.methods) {
      stop_if_interrupted();
      auto row = compress_reference(session, task, reference, recipe, {method, codebook}, seed);
      const Measured fresh =
          measured_in_fresh_process(session.path(row.file), data.from, row.decoded.empty());
      agreeing += fresh.value() == row.after.value();
      rows.push_back(std::move(row));
    }
  }
  session.text() << "\n";
  print_compressions(session.text(), rows);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  session.text() << "\nLoaded in a fresh process and run packed: " << agreeing << " of "
                 << rows.size() << " files give the same result. Files are in " << run.out << ". "
                 << fixed(seconds.count(), 1) << " s.\n";
  check(agreeing == static_cast<std::int64_t>(rows.size()),
        "a saved file gave another result in a fresh process");
  session.json() = compressions_json(rows);
  session.json()["verb"] = "story";
  session.json()["data"] = task.data.text;
  session.json()["files_agreeing"] = agreeing;
  session.json()["seconds"] = seconds.count();
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
