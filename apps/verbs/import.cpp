// import: a model from another program's weights.
#include "core/files/import.h"

#include <algorithm>

#include "apps/cli/cli.h"
#include "apps/verbs/verbs.h"
#include "core/files/atomic_file.h"
#include "core/files/model.h"
#include "core/files/safetensors.h"
#include "experiment/compression.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace {

// Which of the flags could make the report complete.
std::string ways_out(const ImportReport& report) {
  std::string out;
  const auto add = [&](bool applies, const std::string& way) {
    if (applies) out += (out.empty() ? "" : "; ") + way;
  };
  const bool missing = !report.missing.empty(), unused = !report.unused.empty();
  if (missing && unused) {
    out = cat("--map 'THEIRS=OURS' says which is which ('", printable(report.unused.front()), "=",
              report.missing.front(), "'?)");
  }
  add(missing, "--optional REGEX names tensors that the file may lack");
  add(unused, "--ignore REGEX names tensors of the file that are not wanted");
  add(!report.mismatched.empty(),
      "tensors of other shapes are of another network (--net), or transposed (--map "
      "'THEIRS=OURS:t')");
  return out;
}

// What a flag says must be there, or a misspelt name would go unnoticed.
void require_used(const std::string& file, const std::string& flag,
                  const std::vector<std::string>& given, const ImportReport& report) {
  for (const std::string& text : given) {
    const bool idle = std::find(report.idle.begin(), report.idle.end(), text) != report.idle.end();
    check(!idle, flag, " '", text, "' matches no tensor of ",
          flag == "--optional" ? "the network" : file);
  }
}

}  // namespace

int import_verb(const Benchmark& benchmark, const Args& args) {
  NetworkFlags network(benchmark);
  DataFlags data(benchmark);
  RunFlags run = default_run(benchmark, "");
  run.name = "imported";
  ImportOptions import;
  import.strict = false;  // the report is worth more than the first problem
  FlagList options("Flags");
  data.add_flags(options);
  network.add_flags(options);
  options.add_options()(
      "map", repeated_flag(import.rules, "theirs=ours"),
      "a tensor's name in the file and here (fc1.weight, fc1.bias, fc2.weight, ...); "
      "'/regex/=ours' for several, ':t' at the end transposes; may be repeated")(
      "ignore", repeated_flag(import.ignored, "REGEX"), "tensors of the file that are not wanted")(
      "optional", repeated_flag(import.optional, "REGEX"),
      "tensors of the network that the file may lack, such as running statistics");
  run.add_writing_flags(options);
  check(peek_flag(args, kValidation).empty(), "--", kValidation,
        ": another program may have trained these weights on any samples; import measures on the "
        "test set");
  const auto files =
      parse_flags(args,
                  {benchmark.name + " import FILE [flags]",
                   "Reads trained weights (.safetensors or .npz, also inside .xz), measures them, "
                   "and saves a model that compress --from takes. For PyTorch's .pt and .pth it "
                   "says how to convert them.",
                   1,
                   1,
                   "one file of weights",
                   {benchmark.name + " import weights.safetensors --net " +
                        benchmark.networks.back() + " --out out/imported",
                    benchmark.name + " import weights.npz --map '/net\\.(.*)/=$1' --ignore "
                                     "'ema\\..*' --optional '.*running_(mean|var)'"}},
                  options);
  if (!files) return kExitDone;
  const std::string& file = files->front();
  check(
      std::filesystem::path(file).extension() != ".json", file,
      ": expected weights (.safetensors, .npz); a model's .json goes to --from of train, compress "
      "and compare");
  naming("--map", [&] { ImportOptions{.rules = import.rules}.validate(); });
  naming("--ignore", [&] { ImportOptions{.ignored = import.ignored}.validate(); });
  naming("--optional", [&] { ImportOptions{.optional = import.optional}.validate(); });
  const std::vector<std::string> mapped = import.rules;
  if (const auto known = benchmark.import_rules.find(network.name());
      known != benchmark.import_rules.end()) {
    import.rules.insert(import.rules.end(), known->second.begin(), known->second.end());
  }
  network.validate();
  data.validate();
  data.take({{kImported, ""}});
  Session session(run);
  Data loaded = data.load(network.inputs());
  const Task task = make_task(loaded, network.build(*loaded.task));
  Model model = nn::initial_model(*task.network.network, *task.data.task);
  model.settings = task.settings;
  model.attached = task.data.attached;
  const TensorMap weights = benchmark.read_weights
                                ? benchmark.read_weights(file, *task.network.network, model.state)
                                : read_weights(file);
  const ImportReport report = import_tensors(weights, file, model.state, import);
  session.text() << report.text();
  require_used(file, "--map", mapped, report);
  require_used(file, "--ignore", import.ignored, report);
  require_used(file, "--optional", import.optional, report);
  check(report.complete(), file, ": ", report.missing.size(), " tensors missing, ",
        report.unused.size(), " unused, ", report.mismatched.size(), " mismatched (listed above); ",
        ways_out(report));
  model.settings[kImported] = report.sha256;
  session.open_outputs();
  const std::filesystem::path target = session.path(run.name + ".json");
  if (!run.overwrite && file_exists(target)) {
    const Model there = load(target, ops::standard_ops());
    const bool same_weights = weights_sha256(there) == weights_sha256(model);
    check(same_weights && there.settings == model.settings, target.string(),
          same_weights ? " holds these weights under other settings" : " holds other weights",
          "; --name or --out keeps both, --overwrite replaces it");
  }
  const SavedModel saved = save(model, target);
  const Measured test = load_reference(task, saved.json).test;
  session.text() << "Data: " << task.data.text << "\n"
                 << saved.json.string() << ": " << test.text() << "\n";
  Json& json = session.json() = test.json();
  json["verb"] = "import";
  json["file"] = saved.json.string();
  json["data"] = task.data.text;
  json["imported"] = report.matched.size();
  json.update(task.network.settings);
  session.report_problems(problems(task.data));
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
