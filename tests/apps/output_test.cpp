// Where results go: files, folders, pipes and what stdout leads to.
#include <sys/stat.h>

#include <fstream>
#include <limits>

#include "apps/cli/parse.h"
#include "apps/cli/run_log.h"
#include "datasets/synthetic_digits.h"
#include "experiment/comparison.h"
#include "experiment/compression.h"
#include "experiment/machine.h"
#include "experiment/measure.h"
#include "report/machines.h"
#include "report/table.h"
#include "tests/apps/app.h"
#include "tests/experiment/evaluated.h"

namespace tessera::testing {
namespace {

class Output : public MnistApp {
 protected:
  Args train(const Args& more) const {
    Args args = {"train", "--data", kTiny, "--out", path("out"), "--epochs", "1", "--threads", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  // The command line of a shell that runs the program with these arguments.
  Result shell(const Args& args, const std::string& rest) const {
    std::string line = "'" + app.string() + "'";
    for (const std::string& arg : args) line += " '" + arg + "'";
    return run("/bin/sh", {"-c", line + rest}, folder.path());
  }
};

TEST_F(Output, JsonGoesToWhateverTheNameLeadsTo) {
  const auto results = [](const std::string& text) {
    return parse_json(text.substr(text.find("\n{") + 1), "the results");
  };
  // A pipe, a file that stdout is written to already, and another descriptor.
  const Result piped = shell(train({"--json", "/dev/stdout"}), " | cat");
  EXPECT_EQ(piped.error, "");
  EXPECT_EQ(results(piped.out)["verb"], "train");
  const Result file = must(train({"--json", "/dev/stdout"}));
  EXPECT_NE(file.out.find("Data: "), file.out.npos) << file.out;
  EXPECT_EQ(results(file.out)["verb"], "train");
  const Result both =
      shell(train({"--json", path("both"), "--quiet"}), " > '" + path("both") + "'");
  EXPECT_EQ(both.error, "");
  EXPECT_EQ(results(read_file(path("both")))["verb"], "train");
  const Result other = shell(train({"--json", "/dev/fd/3", "--quiet"}), " 3>&1 >/dev/null | cat");
  EXPECT_EQ(other.error, "");
  EXPECT_EQ(parse_json(other.out, "descriptor 3")["verb"], "train");
  EXPECT_EQ(must(train({"--json", "/dev/null"})).error, "");
}

TEST_F(Output, WhatCannotBeWrittenIsSaidBeforeAnyWork) {
  folder.write("file", "text");
  for (const auto& [json, message] : std::map<std::string, std::string>{
           {folder.path().string(), ": is a folder; expected the name of a file"},
           {path("none/r.json"), ": cannot write " + path("none") + ": No such file or directory"},
           {path("file/r.json"), ": cannot write " + path("file") + ": Not a directory"}}) {
    EXPECT_EQ(refused(train({"--json", json})), "--json " + json + message + "\n");
    EXPECT_EQ(refused(train({"--log", json})).find("--log: cannot write the log " + json + ": "),
              0u);
    EXPECT_FALSE(std::filesystem::exists(path("out/lenet300-reference-s1.json")));
  }
  EXPECT_EQ(refused(train({"--log", "/dev/full", "--quiet"})),
            "cannot write the log /dev/full: No space left on device\n");
  EXPECT_EQ(refused({"train", "--data", kTiny, "--out", path("file")}),
            "--out " + path("file") + ": cannot be created: Not a directory\n");
}

// The message is about what was typed, and what would have been right.
TEST_F(Output, RefusalsNameTheFlag) {
  must(train({"--quiet"}));
  const std::string model = path("out/lenet300-reference-s1.json");
  const std::vector<std::pair<Args, std::string>> all = {
      {train({"--batch", "0"}), "--batch must be 1 to 1048576, got 0\n"},
      {train({"--batch", "99999999999"}), "--batch must be 1 to 1048576, got 99999999999\n"},
      {{"train", "--threads", "99999999999"}, "--threads must be 0 to 256, got 99999999999\n"},
      {train({"--name", "a\nb"}), "--name 'a\\x0ab' may not contain control characters\n"},
      {train({"--r2", "l3"}), "--r2: "},
      {{"compress", "--entries", "f16"}, "--entries: "},
      {{"compress", "--activation-quantizer", "x"}, "--activation-quantizer: "},
      {{"compress", "--activation-at", "x"}, "--activation-at: "},
      {{"bench", "--data", "random", "--method", "x"}, "--method: 'x' is unknown"},
      {{"import", model},
       model + ": expected weights (.safetensors, .npz); a model's .json goes to"},
      {{"import", "w.safetensors", "--validation", "5"},
       "--validation: another program may have trained these weights on any samples"}};
  for (const auto& [args, message] : all)
    EXPECT_EQ(refused(args).find(message), 0u) << refused(args);
  EXPECT_EQ(result_of({"bench", "--data", "random", "--method", "x"}).out, "");
}

TEST_F(Output, ToolsWriteJsonToStdoutToo) {
  const auto tool = program("tessera");
  if (!std::filesystem::exists(tool)) GTEST_SKIP() << tool << " is not built";
  must(train({"--quiet"}));
  const std::string model = path("out/lenet300-reference-s1.json");
  for (const Args& more : {Args{}, Args{"--summary"}}) {
    Args args = {"inspect", model, "--json", "-"};
    args.insert(args.end(), more.begin(), more.end());
    const Result result = run(tool, args, folder.path());
    EXPECT_EQ(result.code, 0);
    EXPECT_EQ(parse_json(result.out, "stdout")["summary"]["parameters"], 266610);
    EXPECT_NE(result.error.find("multiply-accumulates"), result.error.npos) << result.error;
  }
  const Result verify = run(tool, {"verify", model, "--json", "-"}, folder.path());
  EXPECT_EQ(verify.code, 0) << verify.error;
  EXPECT_EQ(parse_json(verify.out, "stdout")["good"], true);
  EXPECT_NE(verify.error.find("worst difference"), verify.error.npos);
  EXPECT_FALSE(std::filesystem::exists("-"));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "-"));
  for (const char* tolerance : {"nan", "-1"})
    EXPECT_EQ(run(tool, {"verify", model, "--tolerance", tolerance}, folder.path()).code, 2);
  EXPECT_EQ(run(tool, {"verify", model, "--threads", "-1"}, folder.path()).error,
            "tessera: error: --threads must be 0 to 256, got -1\n");
  EXPECT_EQ(run(tool, {"inspect", model, "--threads", "-1"}, folder.path()).error,
            "tessera: error: --threads must be 0 to 256, got -1\n");
}

TEST_F(Output, PlansOfBatchesThatTheDataCannotFill) {
  for (const Args& batch : {Args{"--ref-batch", "5000"}, Args{"--batch", "5000"}}) {
    Args args = {"compare", "--data", kTiny, "--methods", "lc,dkm", "--plan", "--epochs", "2"};
    args.insert(args.end(), batch.begin(), batch.end());
    const std::string plan = must(args).out;
    EXPECT_EQ(plan.find("PROBLEM"), plan.npos) << plan;
    EXPECT_EQ(plan.find("  0.00  "), plan.npos) << plan;  // every step was timed
  }
}

}  // namespace
}  // namespace tessera::testing

namespace tessera::apps {

using namespace experiment;
namespace {

using datasets::error_of;
using datasets::TempDir;

TEST(RunLog, ALossThatIsNoNumberSaysWhereAndWhatToTry) {
  const TempDir folder;
  RunLog log(folder.path() / "log", false);
  log.set_run({{"run", "a"}}, "validation");
  log.on_begin("train", 9, {});
  log.on_step({.epoch = 3, .step = 5, .steps = 5, .loss = 2, .lr = 0.25});
  nn::EpochReport report;
  report.steps = 5;
  report.loss = 2;
  const nn::Evaluation test =
      experiment::testing::evaluated(1, 10, std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(error_of([&] { log.on_epoch(3, report, &test); }),
            "the loss on the validation samples became no number in epoch 4 of 9, behind step 5; a "
            "smaller "
            "learning rate may help (it was 0.25)");
}

// Of a metric of which more is better, and of a run that has no number.
TEST(Comparison, TheBestIsByTheMetricAndANumber) {
  std::vector<ComparedRun> runs;
  const auto add = [&](const std::string& method, double value, bool lower_is_better) {
    Compression c;
    c.variant = {method, "adaptive:2", 0, 0};
    c.after.all.samples = 10;
    nn::Metric metric{"precision", value, "", lower_is_better, 3};
    c.after.all.metrics = {metric, {"loss", 1, "", true, 4}};
    const Json stored = parse_json(json_text(c.json()), "stored");
    ComparedRun run;
    run.variant = c.variant;
    run.result = Compression::parse(stored, "stored");
    runs.push_back(std::move(run));
  };
  const auto best = [&] {
    const ComparisonGrid grid(runs);
    const auto m = grid.best(0);
    return m ? grid.methods()[*m] : "none";
  };
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  add("broken", kNone, false);
  EXPECT_EQ(best(), "none");
  add("a", 0.25, false);
  add("b", 0.5, false);
  EXPECT_EQ(best(), "b");
  runs.clear();
  add("broken", kNone, true);
  add("a", 0.25, true);
  add("b", 0.5, true);
  EXPECT_EQ(best(), "a");
}

// As earlier versions stored what they measured.
TEST(Measured, OlderResultsAreOfClassifiers) {
  const Json old = {{"test_error", 20.0},    {"test_loss", nullptr}, {"correct", 8},
                    {"correct5", 9},         {"samples", 10},        {"classes", 10},
                    {"parts", Json::array()}};
  const Measured in = Measured::parse(JsonAt(old, "old"));
  EXPECT_EQ(in.text(), "test error 20.00 % (8 of 10 correct)");
  EXPECT_EQ(in.all.value("correct"), 8);
  EXPECT_EQ(in.json()["correct"], 8);
}

TEST(Measured, KeepsALossThatJsonCannotHold) {
  Measured out;
  out.all = experiment::testing::evaluated(1, 4, std::numeric_limits<double>::infinity());
  out.parts = {{"test", out.all, false}};
  const Json json = parse_json(json_text(out.json()), "measured");
  EXPECT_TRUE(json["test_loss"].is_null());
  const Measured in = Measured::parse(JsonAt(json, "measured"));
  EXPECT_EQ(in.all.loss(), out.all.loss());
  EXPECT_EQ(in.parts[0].result.loss(), out.all.loss());
}

TEST(RequireData, NamesEveryMethodOnce) {
  Task task;
  task.data.text = "some pictures";
  const CompressRecipe recipe;
  const auto message = [&](const std::vector<std::string>& methods) {
    std::vector<Variant> variants;
    for (const std::string& method : methods) variants.push_back({method, "adaptive:2"});
    return error_of([&] { require_data(task, recipe, variants); });
  };
  EXPECT_EQ(message({"lc-qp", "lc", "lc", "dc", "fisher"}),
            "some pictures: there is nothing to train on, which lc-qp, lc would do");
  EXPECT_EQ(
      message({"fisher", "adaround", "fisher"})
          .find(
              "some pictures: there are no training samples, which fisher, adaround would look at"),
      0u);
}

// Strings of files that others may have written.
TEST(Printed, TablesAndMachinesMoveNoCursor) {
  std::ostringstream out;
  Table table({"na\x1bme", "x"});
  table.add({"\x1b[31m\n", "1"});
  table.print(out, 0);
  out << machines_text({{"cpu\x1b[2J", 1, 1, "", "1", "mnist\n\x07"}}, 0);
  for (const std::string part : {"na\\x1bme", "\\x1b[31m\\x0a", "cpu\\x1b[2J", "mnist\\x0a\\x07"}) {
    EXPECT_NE(out.str().find(part), std::string::npos) << out.str();
  }
}

class Parsing : public ::testing::Test {
 protected:
  std::vector<std::string> parse(const std::vector<std::string>& args) {
    FlagList flags("Flags");
    auto add = flags.add_options();
    add("count", flag(count), "a number");
    add("seed", flag(seed), "a number of 0 or more");
    add("rate", flag(rate, "X"), "a number");
    add("name", text_flag(name), "text");
    add("deep", switch_flag(deep), "on or off");
    add("quick", on_flag(quick), "without a value");
    add("rule", repeated_flag(rules, "RULE"), "several");
    return parse_flags(args, {.line = "program [flags]", .about = "", .most = 3}, flags).value();
  }
  std::int64_t count = 3;
  std::uint64_t seed = 1;
  double rate = 0.5;
  std::string name;
  bool deep = true, quick = false;
  std::vector<std::string> rules;
};

TEST_F(Parsing, EveryForm) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(parse({"a", "--count=-4", "--rate", "1e-3", "--quick", "b", "--rule", "x", "--rule=--y",
                   "--deep", "off", "--name", "-z", "--", "--count"}),
            (Words{"a", "b", "--count"}));
  EXPECT_EQ(count, -4);
  EXPECT_EQ(rate, 1e-3);
  EXPECT_EQ(name, "-z");
  EXPECT_TRUE(quick);
  EXPECT_FALSE(deep);
  EXPECT_EQ(rules, (Words{"x", "--y"}));
  parse({"--count", "+7", "-"});
  EXPECT_EQ(count, 7);
}

TEST_F(Parsing, EveryRefusal) {
  for (const auto& [args, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--count", "many"}, "--count: expected a whole number, got 'many'"},
           {{"--count", "1.5"}, "--count: expected a whole number, got '1.5'"},
           {{"--count", "99999999999999999999"},
            "--count: expected a whole number from -9223372036854775808 to 9223372036854775807, "
            "got "
            "'99999999999999999999'"},
           {{"--seed", "-1"}, "--seed: expected a whole number of 0 or more, got '-1'"},
           {{"--rate", "1e999"}, "--rate: expected a number from"},
           {{"--rate", "0.5x"}, "--rate: expected a number, got '0.5x'"},
           {{"--deep", "maybe"}, "--deep: expected on or off, got 'maybe'"},
           {{"--quick=1"}, "--quick takes no value"},
           {{"--count"}, "--count: a value is missing (N)"},
           {{"--name="}, "--name: a value is missing (TEXT)"},
           {{"--name", "--count", "1"}, "--name: a value is missing (TEXT)"},
           {{"--count", "1", "--count=1"}, "--count is given twice"},
           {{"--cuont", "1"}, "unrecognised option '--cuont'; did you mean '--count'?"},
           {{"-c", "1"}, "unrecognised option '-c'"},
           {{"--max-memory", "-1"}, "--max-memory must be 0 to"},
           {{"a", "b", "c", "d"}, "expected "}}) {
    EXPECT_EQ(error_of([&] { parse(args); }).find(message), 0u) << message << "\n"
                                                                << error_of([&] { parse(args); });
  }
  // What is bad changes nothing before it.
  EXPECT_EQ(error_of([&] { parse({"--count", "9", "--nmae", "x"}); }).find("unrecognised"), 0u);
  EXPECT_EQ(count, 3);
}

}  // namespace
}  // namespace tessera::apps
