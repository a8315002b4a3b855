// mnist train: a dense reference for each seed.
#include "apps/common/cli.h"
#include "apps/common/experiment.h"
#include "apps/common/statistics.h"
#include "apps/common/table.h"
#include "apps/mnist/digits.h"
#include "apps/mnist/verbs.h"

namespace tessera::apps {

int mnist_train(const std::vector<std::string>& args) {
  DataFlags data;
  RunFlags run = default_run();
  TrainRecipe recipe = default_training();
  std::string activation = "tanh", seeds = "1";
  po::options_description options("Flags");
  data.add_flags(options);
  auto add = options.add_options();
  add("activation", text_flag(activation, "NAME"), "tanh or relu");
  add("seed", text_flag(seeds, "N"), "seed of initial weights and batch order, or several: 1,2,3");
  recipe.add_flags(options, "");
  run.add_writing_flags(options);
  std::vector<std::string> none;
  if (!parse_flags(args, {"mnist train [flags]", "Trains LeNet-300-100 and saves it."}, options,
                   none, 0)) {
    return kExitDone;
  }
  recipe.validate("");
  const auto kind = models::parse_activation(activation);
  const auto seed_list = integer_list(seeds, "--seed", 0, 1'000'000'000);
  Session session(run);
  const Task task = digits_task(load_digits(data), kind);
  session.open_outputs();
  session.detail() << "Data: " << task.data << std::endl;

  Table table({"seed", "test error %", "correct", "of", "file"});
  std::vector<double> errors;
  session.json() = {
      {"verb", "train"}, {"data", task.data}, {"activation", activation}, {"rows", Json::array()}};
  for (const std::int64_t seed : seed_list) {
    const auto reference = train_reference(session, task, recipe, static_cast<std::uint64_t>(seed));
    if (!reference) return session.interrupted_exit();
    const nn::Evaluation& test = reference->test;
    errors.push_back(test.error_percent());
    table.add({std::to_string(seed), fixed(test.error_percent(), 2), std::to_string(test.correct),
               std::to_string(test.samples), reference->file.string()});
    session.json()["rows"].push_back({{"seed", seed},
                                      {"test_error", test.error_percent()},
                                      {"test_loss", test.loss},
                                      {"correct", test.correct},
                                      {"samples", test.samples},
                                      {"weights_sha256", reference->weights_sha256},
                                      {"file", reference->file.string()}});
  }
  table.print(session.text());
  if (errors.size() > 1) {
    session.text() << "mean " << mean_text(errors, 3) << " % (standard error over " << errors.size()
                   << " seeds)\n";
  }
  session.json()["mean_test_error"] = mean(errors);
  session.json()["standard_error"] = standard_error(errors);
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
