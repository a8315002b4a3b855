// mnist compress: every method and codebook asked for, from one reference per seed.
#include "apps/common/cli.h"
#include "apps/common/compression_report.h"
#include "apps/mnist/digits.h"
#include "apps/mnist/verbs.h"
#include "core/files/model.h"
#include "core/interrupt.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace {

struct CompressFlags {
  DataFlags data;
  RunFlags run = default_run();
  TrainRecipe training = default_training();
  CompressRecipe recipe = default_compression();
  CodebookFlags codebooks;
  std::string activation = "tanh", seeds = "1", methods = "lc", from;
  bool plan_only = false;

  bool parse(const std::vector<std::string>& args) {
    po::options_description general("Flags");
    data.add_flags(general);
    auto add = general.add_options();
    add("activation", text_flag(activation, "NAME"), "tanh or relu, of a reference trained here");
    add("from", text_flag(from, "MODEL.json"),
        "dense model to compress (default: trains the reference first)");
    add("seed", text_flag(seeds, "N"), "seed, or several: 1,2,3");
    add("method", text_flag(methods, "LIST"), "dc, idc, lc, lc-qp, or several: dc,idc,lc");
    add("plan", po::bool_switch(&plan_only), "print what would be compressed how, and stop");
    codebooks.add_flags(general);
    run.add_writing_flags(general);
    po::options_description compression("Compression"), reference("Training of the reference");
    recipe.add_flags(compression);
    training.add_flags(reference, "ref-");
    general.add(compression).add(reference);
    // The plural reads better for a list and means the same.
    std::vector<std::string> spelled = args;
    for (std::string& arg : spelled) {
      for (const std::string name : {"--seed", "--method"}) {
        if (arg == name + "s") arg = name;
        if (arg.starts_with(name + "s=")) arg.erase(name.size(), 1);
      }
    }
    std::vector<std::string> none;
    return parse_flags(
        spelled,
        {"mnist compress [flags]",
         "Compresses LeNet-300-100, saves the packed model, loads it and measures it."},
        general, none, 0);
  }
};

}  // namespace

int mnist_compress(const std::vector<std::string>& args) {
  CompressFlags flags;
  if (!flags.parse(args)) return kExitDone;
  flags.recipe.validate();
  flags.training.validate("ref-");
  const auto seeds = integer_list(flags.seeds, "--seed", 0, 1'000'000'000);
  const auto methods = word_list(flags.methods, "--method");
  for (const auto& method : methods) flags.recipe.method(method);  // known, or Error
  const auto codebooks = flags.codebooks.codebooks();
  auto activation = models::parse_activation(flags.activation);
  if (!flags.from.empty()) {
    activation = activation_of(load(flags.from, ops::standard_ops()).settings, flags.from);
  }
  Session session(flags.run);
  const Task task = digits_task(load_digits(flags.data), activation);
  std::optional<Reference> given;
  if (!flags.from.empty()) given = load_reference(task, flags.from);
  std::string plans;
  for (const auto& codebook : codebooks) {
    plans += cat("Plan, ", codebook, ":\n",
                 plan_text(task, flags.recipe, codebook, given ? &given->model.state : nullptr));
  }
  session.text() << "Data: " << task.data << "\n" << plans << std::flush;
  if (flags.plan_only) return kExitDone;
  session.open_outputs();

  std::vector<Compression> rows;
  for (const std::int64_t number : seeds) {
    const auto seed = static_cast<std::uint64_t>(number);
    std::optional<Reference> trained;
    if (!given) {
      trained = train_reference(session, task, flags.training, seed);
      if (!trained) return session.interrupted_exit();
    }
    const Reference& reference = given ? *given : *trained;
    for (const auto& codebook : codebooks) {
      for (const auto& method : methods) {
        if (interrupted()) return session.interrupted_exit();
        auto row =
            compress_reference(session, task, reference, flags.recipe, method, codebook, seed);
        if (!row) return session.interrupted_exit();
        rows.push_back(*std::move(row));
      }
    }
  }
  print_compressions(session.text(), rows);
  session.json() = compressions_json(rows);
  session.json()["verb"] = "compress";
  session.json()["data"] = task.data;
  session.json()["activation"] = models::name(activation);
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
