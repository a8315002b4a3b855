// The programs under mpirun: what several processes train, print and write, and how they end.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "core/files/safetensors.h"
#include "mpi/open_world.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class Mpirun : public App {
 protected:
  Mpirun() : App("mnist") {}
  void SetUp() override {
    App::SetUp();
    if (std::string(TESSERA_MPIEXEC).empty()) GTEST_SKIP() << "built without MPI";
  }

  // On this machine alone, with more ranks than cores if need be.
  static Args command(int ranks, const std::filesystem::path& program, const Args& args) {
    Args out = {"--np", std::to_string(ranks)};
    for (const char* flag :
         {"--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "btl",
          "self,vader", "--mca", "btl_vader_single_copy_mechanism", "none", "--mca", "plm",
          "isolated", "--mca", "orte_abort_print_stack", "0"})
      out.emplace_back(flag);
    out.push_back(program.string());
    out.insert(out.end(), args.begin(), args.end());
    return out;
  }
  Result by(int ranks, const Args& args, const std::string& name = "mnist") const {
    return run(TESSERA_MPIEXEC, command(ranks, program(name), args), folder.path());
  }
  Result must_by(int ranks, const Args& args, const std::string& name = "mnist") const {
    Result result = by(ranks, args, name);
    EXPECT_EQ(result.code, 0) << result.error << result.out;
    return result;
  }
  // The same where this rank can write no file of more than so many KiB: a disk that fills. Its
  // messages take the way that needs no file in shared memory.
  Result by_two_with_full_disk(int rank, int kib, const Args& args) const {
    const std::string limit = cat("trap '' XFSZ; ulimit -f ", 2 * kib, "; exec \"$0\" \"$@\"");
    Args out;
    for (int r = 0; r < 2; ++r) {
      Args one = command(1, app, args);
      std::ranges::replace(one, std::string("self,vader"), std::string("self,tcp"));
      if (r == rank) one.insert(std::ranges::find(one, app.string()), {"/bin/sh", "-c", limit});
      if (r > 0) {
        one.erase(one.begin() + 2, std::ranges::find(one, r == rank ? "/bin/sh" : app.string()));
        out.emplace_back(":");
      }
      out.insert(out.end(), one.begin(), one.end());
    }
    return run(TESSERA_MPIEXEC, out, folder.path());
  }
  // Exit code 2 and, once, this.
  void expect_refused(const Result& result, const std::string& message) const {
    EXPECT_EQ(result.code, 2) << result.error;
    const auto at = result.error.find("error: ");
    ASSERT_NE(at, std::string::npos) << result.error;
    EXPECT_NE(result.error.find(message), std::string::npos) << result.error;
    EXPECT_EQ(result.error.find("error: ", at + 1), std::string::npos) << result.error;
  }
  // Field of the events of a log.
  std::vector<double> logged(const std::string& file, const std::string& event,
                             const std::string& field) const {
    std::istringstream log(read_file(path(file)));
    std::vector<double> out;
    for (std::string line; std::getline(log, line);) {
      const Json json = parse_json(line, file);
      if (json["event"] == event && json.contains(field)) out.push_back(json[field]);
    }
    return out;
  }
  void expect_same_curves(const std::string& one, const std::string& other,
                          const std::string& event, const std::string& field,
                          double tolerance) const {
    const auto a = logged(one, event, field), b = logged(other, event, field);
    ASSERT_FALSE(a.empty());
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i)
      EXPECT_NEAR(a[i], b[i], tolerance * (1 + std::abs(a[i]))) << field << " of epoch " << i + 1;
  }
  // `more` may say otherwise.
  Args train(const std::string& out, const Args& more = {}) const {
    std::map<std::string, std::string> flags = {{"--data", kTiny},
                                                {"--epochs", "3"},
                                                {"--batch", "60"},
                                                {"--out", path(out)},
                                                {"--log", path(log_of(out))}};
    for (std::size_t i = 0; i + 1 < more.size(); i += 2) flags[more[i]] = more[i + 1];
    Args args = {"train"};
    for (const auto& [flag, value] : flags) args.insert(args.end(), {flag, value});
    return args;
  }
  static std::string log_of(std::string out) {
    std::ranges::replace(out, '/', '-');
    return out + ".jsonl";
  }
};

TEST_F(Mpirun, TrainsAsOneProcessDoesAndRepeatsItsBytes) {
  must(train("one"));
  const Result first = must_by(2, train("two"));
  must_by(2, train("again"));
  expect_same_curves("one.jsonl", "two.jsonl", "epoch", "loss", 1e-5);
  EXPECT_EQ(models("two").size(), 2u);
  EXPECT_TRUE(models("two") == models("again"));
  // One rank prints, and only what one process prints.
  const auto at = first.out.find("reference, seed 1: training");
  ASSERT_NE(at, std::string::npos) << first.out;
  EXPECT_EQ(first.out.find("reference, seed 1: training", at + 1), std::string::npos) << first.out;
  EXPECT_EQ(first.error, "");
  // What travels is counted: each rank sends its half of the gradients and of their means.
  const auto bytes = logged("two.jsonl", "epoch", "sent_bytes_per_step");
  ASSERT_FALSE(bytes.empty());
  EXPECT_NEAR(bytes[0], 4 * 266610, 1000);
}

TEST_F(Mpirun, CompressesAsOneProcessDoes) {
  const auto compress = [&](const std::string& out) {
    return Args{"compress",
                "--data",
                kTiny,
                "--out",
                path(out),
                "--ref-epochs",
                "2",
                "--method",
                "lc,mocq,qar",
                "--lc-steps",
                "2",
                "--lc-epochs",
                "1",
                "--first-epochs",
                "1",
                "--train-epochs",
                "2",
                "--bits",
                "1",
                "--log",
                path(out + ".jsonl")};
  };
  must(compress("one"));
  must_by(2, compress("two"));
  expect_same_curves("one.jsonl", "two.jsonl", "c_step", "distance", 1e-3);
  expect_same_curves("one.jsonl", "two.jsonl", "epoch", "loss", 1e-3);
  // What is there is found by all ranks.
  Args again = compress("two");
  again.push_back("--resume");
  const Result result = must_by(2, again);
  EXPECT_NE(result.out.find("already done"), std::string::npos) << result.out;
}

TEST_F(Mpirun, CodesAreSmaller) {
  must_by(2, train("f32"));
  must_by(2, train("coded", {"--gradients", "codebook:16"}));
  const double f32 = logged("f32.jsonl", "epoch", "sent_bytes_per_step").at(0),
               coded = logged("coded.jsonl", "epoch", "sent_bytes_per_step").at(0);
  EXPECT_LT(coded, 0.14 * f32);
}

TEST_F(Mpirun, AKilledRankEndsTheRunWhichGoesOnWithAnyNumber) {
  const Args args = train("out", {"--epochs", "400", "--checkpoint-seconds", "1000"});
  Process process(TESSERA_MPIEXEC, command(2, app, args), folder.path());
  ASSERT_TRUE(process.says("training 400 epochs", 60));
  EXPECT_FALSE(process.wait(0.7));
  // The rank that does not lead: the youngest child.
  std::ifstream children(cat("/proc/", process.id(), "/task/", process.id(), "/children"));
  std::vector<pid_t> ranks;
  for (pid_t id; children >> id;) ranks.push_back(id);
  ASSERT_EQ(ranks.size(), 2u);
  ::kill(ranks[1], SIGKILL);
  ASSERT_TRUE(process.wait(50)) << "goes on without a rank";
  const Result ended = process.wait();
  EXPECT_NE(ended.code, 0);
  EXPECT_NE(ended.error.find("with --resume goes on from there"), std::string::npos) << ended.error;
  ASSERT_TRUE(std::filesystem::exists(path("out/lenet300-reference-s1.checkpoint")));
  for (const int after : {1, 3}) {
    const std::string copy = cat("by", after);
    std::filesystem::copy(path("out"), path(copy));
    Args again =
        train(copy, {"--epochs", "400", "--checkpoint-seconds", "1000", "--out", path(copy)});
    again.push_back("--resume");
    Process more(after == 1 ? app : std::filesystem::path(TESSERA_MPIEXEC),
                 after == 1 ? again : command(after, app, again), folder.path());
    EXPECT_TRUE(more.says("going on in epoch", 60)) << read_file(path("stderr"));
  }
}

TEST_F(Mpirun, ASignalEndsAllRanksAndSaves) {
  const Args args = train("out", {"--epochs", "4000"});
  Process process(TESSERA_MPIEXEC, command(2, app, args), folder.path());
  ASSERT_TRUE(process.says("training 4000 epochs", 60));
  EXPECT_FALSE(process.wait(0.5));
  process.send(SIGTERM);
  ASSERT_TRUE(process.wait(20));
  const Result ended = process.wait();
  EXPECT_NE(ended.code, 0);
  EXPECT_NE(ended.error.find("Interrupted; what was done is in"), std::string::npos) << ended.error;
  // It was saved where it was stopped, long behind the first checkpoint.
  Args again = args;
  again.push_back("--resume");
  Process more(TESSERA_MPIEXEC, command(2, app, again), folder.path());
  ASSERT_TRUE(more.says("going on in epoch", 60));
  EXPECT_FALSE(more.says("going on in epoch 1 of", 0)) << read_file(path("stdout"));
}

TEST_F(Mpirun, RefusesWhatCannotBeTrainedTogether) {
  expect_refused(by(2, train("out", {"--batch", "61"})),
                 "a batch of 61 cannot be shared evenly by 2 ranks; expected a multiple");
  // Two ranks with other flags, and with other programs.
  Args both = command(1, app, train("out"));
  both.insert(both.end(), {":", "-np", "1", app.string()});
  for (const std::string& arg : train("out", {"--lr", "0.2"})) both.push_back(arg);
  expect_refused(run(TESSERA_MPIEXEC, both, folder.path()),
                 "rank 1 has another command line than rank 0");
  const std::string copy = path("mnist");
  std::filesystem::copy(app, copy);
  std::ofstream(copy, std::ios::app) << "changed";
  both = command(1, app, train("out"));
  both.insert(both.end(), {":", "-np", "1", copy});
  for (const std::string& arg : train("out")) both.push_back(arg);
  expect_refused(run(TESSERA_MPIEXEC, both, folder.path()),
                 "rank 1 has another program than rank 0");
  expect_refused(by(2, {"eval", "model.json"}),
                 "'mnist eval' is the work of one process: start it without mpirun");
}

TEST_F(Mpirun, ARankThatCannotWriteEndsTheRun) {
  std::ofstream(path("file")) << "no folder";
  expect_refused(by(2, train("file/out")), "cannot be created");
}

// The one that does not lead cannot log an epoch; rank 0 says so and saves what all have done.
TEST_F(Mpirun, ARankWhoseDiskFillsEndsTheRunAndNothingIsLost) {
  const Args args = train("out", {"--epochs", "400", "--checkpoint-seconds", "1000"});
  expect_refused(by_two_with_full_disk(1, 4, args), "rank 1: cannot write the log");
  EXPECT_TRUE(std::filesystem::exists(path("out/lenet300-reference-s1.checkpoint")));
  Args again = args;
  again.push_back("--resume");
  Process more(TESSERA_MPIEXEC, command(2, app, again), folder.path());
  const std::string next = std::to_string(logged("out.jsonl", "epoch", "epoch").size() + 1);
  EXPECT_TRUE(more.says(cat("going on in epoch ", next, " of"), 60)) << read_file(path("stdout"));
}

TEST_F(Mpirun, RankZerosFullDiskLeavesTheCheckpointBefore) {
  Args args = train("out", {"--epochs", "400", "--checkpoint-seconds", "0"});
  const std::string checkpoint = path("out/lenet300-reference-s1.checkpoint");
  {
    Process process(TESSERA_MPIEXEC, command(2, app, args), folder.path());
    ASSERT_TRUE(process.says("training 400 epochs", 60));
    EXPECT_FALSE(process.wait(0.5));
    process.send(SIGTERM);
    ASSERT_TRUE(process.wait(20));
  }
  const std::string before = read_file(checkpoint);
  args.push_back("--resume");
  expect_refused(by_two_with_full_disk(0, 1000, args),
                 cat("cannot write ", checkpoint, ": File too large"));
  EXPECT_TRUE(read_file(checkpoint) == before);
  Process more(TESSERA_MPIEXEC, command(2, app, args), folder.path());
  EXPECT_TRUE(more.says("going on in epoch", 60)) << read_file(path("stderr"));
}

// ---- other tasks ----

// At a learning rate at which rounding stays small.
TEST_F(Mpirun, TrainsLanguageModels) {
  const auto text = [&](const std::string& out) {
    return train(out, {"--data", "synthetic:9000:900", "--batch", "18", "--net", "lstm100", "--lr",
                       "5", "--epochs", "2", "--validation", "own", "--patience", "9"});
  };
  const std::filesystem::path ptb = program("ptb");
  const Result one = run(ptb, text("one"), folder.path());
  ASSERT_EQ(one.code, 0) << one.error;
  must_by(2, text("two"), "ptb");
  must_by(2, text("again"), "ptb");
  must_by(3, text("three"), "ptb");
  for (const char* log : {"two.jsonl", "three.jsonl"}) {
    expect_same_curves("one.jsonl", log, "epoch", "loss", 1e-6);
    expect_same_curves("one.jsonl", log, "validation", "perplexity", 1e-5);
  }
  EXPECT_TRUE(models("two") == models("again"));
}

TEST_F(Mpirun, TrainsDetectorsByWeighedLosses) {
  const auto boxes = [&](const std::string& out) {
    return train(out, {"--data", "synthetic:32:8", "--batch", "8", "--epochs", "2", "--lr", "0.002",
                       "--loss-weighting", "famo"});
  };
  const Result one = run(program("coco"), boxes("one"), folder.path());
  ASSERT_EQ(one.code, 0) << one.error;
  must_by(2, boxes("two"), "coco");
  expect_same_curves("one.jsonl", "two.jsonl", "epoch", "loss", 1e-3);
  for (const char* value : {"loss.scores", "loss.boxes", "weight.scores", "weight.boxes"})
    expect_same_curves("one.jsonl", "two.jsonl", "weighting", value, 1e-2);
}

TEST_F(Mpirun, TimesStepsOfTextsAgainstTheirParts) {
  const Result result =
      must_by(2,
              {"bench", "--train", "--net", "lstm100", "--data", "synthetic:9000:900", "--method",
               "none", "--steps", "3", "--repeat", "1", "--json", path("bench.json"), "--trace",
               path("trace.json")},
              "ptb");
  EXPECT_NE(result.out.find("2 ranks, 10 samples each"), std::string::npos) << result.out;
  const Json json = parse_json(read_file(path("bench.json")), "bench.json");
  for (const char* part : {"step_ms", "compute_ms", "gradients_ms"})
    EXPECT_GT(json["ranks"][part].get<double>(), 0) << part;
  // What is shown of communication adds up to its share.
  double talk = 0, all = 0;
  const Json trace = parse_json(read_file(path("trace.json")), "trace.json");
  for (const Json& event : trace["traceEvents"]) {
    const double share = event["args"]["share"];
    all += share;
    if (event["name"].get<std::string>().starts_with("all_reduce")) talk += share;
  }
  EXPECT_NEAR(all, 1, 1e-3);
  EXPECT_GT(talk, 0);
  EXPECT_LT(talk, 1);
}

// ---- messages ----

TEST_F(Mpirun, ASlowerLinkTakesAsLongAsItsBytes) {
  constexpr const char* kLink = "TESSERA_LINK_MBYTES";
  const Args bench = {"bench",    "--train", "--data",  "random", "--method", "none",
                      "--repeat", "1",       "--steps", "2",      "--json",   path("bench.json")};
  ::setenv(kLink, "20", 1);
  must_by(2, bench);
  ::setenv(kLink, "none", 1);
  const Result refused = by(2, bench);
  ::unsetenv(kLink);
  const Json ranks = parse_json(read_file(path("bench.json")), "bench.json")["ranks"];
  const double least = ranks["sent_bytes_per_step"].get<double>() / 20e6 * 1e3;
  EXPECT_GT(least, 50);
  EXPECT_GE(ranks["gradients_ms"].get<double>(), 0.99 * least);
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.error.find("expected megabytes a second above 0, got 'none'"),
            std::string::npos)
      << refused.error;
}

// Started by itself: the second time as one of three ranks.
TEST_F(Mpirun, LongMessagesTravelInParts) {
  constexpr const char* kInside = "OMPI_COMM_WORLD_SIZE";
  if (std::getenv(kInside) == nullptr) {
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    const Result result =
        run(TESSERA_MPIEXEC, command(3, self, {"--gtest_filter=Mpirun.LongMessagesTravelInParts"}),
            folder.path());
    EXPECT_EQ(result.code, 0) << result.out << result.error;
    EXPECT_NE(result.out.find("3 ranks"), std::string::npos) << result.out;
    return;
  }
  constexpr std::size_t kMost = 1000;
  const auto world = mpi::open_world(kMost);
  const auto text = [](int rank) {  // of which the last part is short, or a whole one
    std::string out(static_cast<std::size_t>(rank) * 2500 + kMost, '\0');
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<char>('a' + (i / 7 + static_cast<std::size_t>(rank)) % 26);
    return out;
  };
  const auto all = all_gather(*world, text(world->rank()));
  for (int r = 0; r < world->size(); ++r)
    EXPECT_TRUE(all[static_cast<std::size_t>(r)] == text(r)) << "of rank " << r;
  if (world->rank() == 0) std::cout << world->size() << " ranks" << std::endl;
  world->end(HasFailure() ? 1 : 0);
}

}  // namespace
}  // namespace tessera::testing
