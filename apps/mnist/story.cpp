// mnist without a verb: train, compress, save, load in a fresh process, run packed, print.
#include <chrono>

#include "apps/common/cli.h"
#include "apps/common/compression_report.h"
#include "apps/common/self.h"
#include "apps/common/table.h"
#include "apps/mnist/digits.h"
#include "apps/mnist/verbs.h"
#include "core/interrupt.h"
#include "core/parallel.h"

namespace tessera::apps {

namespace {

// Test images that the file's network gets right, counted by a process that knows only the file.
std::int64_t correct_in_fresh_process(const std::filesystem::path& file, const std::string& data) {
  const Finished child = run_self({"eval", file.string(), "--packed-only", "--quiet", "--json", "-",
                                   "--data", data, "--threads", std::to_string(num_threads())});
  check(child.exit_code == 0, "evaluating ", file.string(),
        " in a fresh process ended with exit code ", child.exit_code);
  const Json json = parse_json(child.output, "eval of " + file.string());
  return JsonAt(json, "eval of " + file.string()).at("correct").integer(0);
}

}  // namespace

int mnist_story(const std::vector<std::string>& args) {
  const auto start = std::chrono::steady_clock::now();
  DataFlags data{"synthetic"};
  RunFlags run = default_run();
  run.name = "story";
  TrainRecipe training = story_training();
  CompressRecipe recipe = story_compression();
  std::string activation = "tanh", seed_text = "1";
  po::options_description options("Flags");
  data.add_flags(options);
  auto add = options.add_options();
  add("activation", text_flag(activation, "NAME"), "tanh or relu");
  add("seed", text_flag(seed_text, "N"), "of initial weights and batch order");
  add("ref-epochs", flag(training.epochs), "epochs of the reference");
  add("lc-steps", flag(recipe.lc.alternation.steps), "steps of iDC and LC");
  add("lc-epochs", flag(recipe.lc.alternation.epochs), "epochs of a step");
  add("first-epochs", flag(recipe.lc.alternation.first_epochs), "epochs of the first step");
  run.add_writing_flags(options);
  std::vector<std::string> none;
  const VerbUsage usage{"mnist [flags]",
                        "Trains a reference, compresses it to 1 and 2 bits by DC, iDC and LC, and "
                        "runs the files."};
  if (!parse_flags(args, usage, options, none, 0)) return kExitDone;
  training.validate("ref-");
  recipe.validate();
  const auto kind = models::parse_activation(activation);
  const auto seed =
      static_cast<std::uint64_t>(integer_list(seed_text, "--seed", 0, 1'000'000'000)[0]);
  Session session(run);
  const Task task = digits_task(load_digits(data), kind);
  session.open_outputs();
  session.text() << "LeNet-300-100 (" << activation << ") on " << task.data << std::endl;

  const auto reference = train_reference(session, task, training, seed);
  if (!reference) return session.interrupted_exit();
  std::vector<Compression> rows;
  std::int64_t agreeing = 0;
  for (const std::string codebook : {"adaptive:2", "adaptive:4"}) {
    for (const std::string method : {"dc", "idc", "lc"}) {
      if (interrupted()) return session.interrupted_exit();
      auto row = compress_reference(session, task, *reference, recipe, method, codebook, seed);
      if (!row) return session.interrupted_exit();
      agreeing += correct_in_fresh_process(session.path(row->file), data.data) == row->correct;
      rows.push_back(*std::move(row));
    }
  }
  session.text() << "\n";
  print_compressions(session.text(), rows);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  session.text() << "\nLoaded in a fresh process and run packed: " << agreeing << " of "
                 << rows.size() << " files give the same correct answers. Files are in " << run.out
                 << ". " << fixed(seconds.count(), 1) << " s.\n";
  check(agreeing == static_cast<std::int64_t>(rows.size()),
        "a saved file gave other answers in a fresh process");
  session.json() = compressions_json(rows);
  session.json()["verb"] = "story";
  session.json()["data"] = task.data;
  session.json()["files_agreeing"] = agreeing;
  session.json()["seconds"] = seconds.count();
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
