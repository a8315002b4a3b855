// The first SIGINT or SIGTERM ends every program, whatever it is doing, and what it was doing can
// be gone on with; two processes on one folder.
#include <csignal>

#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

// A second is promised; the machine that runs tests may be busy.
constexpr double kSoon = 5;

class Signals : public MnistApp {
 protected:
  // Starts it, waits until it says `moment`, sends the signal.
  Result stop(const std::filesystem::path& binary, const Args& args, const std::string& moment,
              int signal) const {
    Process process(binary, args, folder.path());
    if (moment.empty()) {
      EXPECT_FALSE(process.wait(0.4)) << args[0];
    } else {
      EXPECT_TRUE(process.says(moment, 60)) << args[0] << " never said '" << moment << "'";
      EXPECT_FALSE(process.wait(0.2)) << args[0];
    }
    process.send(signal);
    EXPECT_TRUE(process.wait(kSoon)) << args[0] << " goes on after signal " << signal;
    return process.wait();
  }
  void expect_stopped(const std::filesystem::path& binary, const Args& args,
                      const std::string& moment = "") const {
    for (const int signal : {SIGINT, SIGTERM}) {
      const Result result = stop(binary, args, moment, signal);
      EXPECT_EQ(result.code, 128 + signal) << args[0] << ": " << result.error;
    }
  }
  Args with(const std::string& verb, const std::string& data, const Args& more) const {
    Args args = {verb, "--data", data, "--threads", "1", "--out", path("out")};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  std::string reference() const {
    must({"train", "--data", kTiny, "--epochs", "1", "--out", path("ref"), "--quiet"});
    return path("ref/lenet300-reference-s1.json");
  }
};

TEST_F(Signals, EndTrainingWhichGoesOn) {
  const Args args = with("train", kTiny, {"--epochs", "100000"});
  const Result result = stop(app, args, "training 100000 epochs", SIGTERM);
  EXPECT_EQ(result.code, 143);
  EXPECT_NE(result.error.find("with --resume goes on from there"), std::string::npos)
      << result.error;
  EXPECT_TRUE(std::filesystem::exists(path("out/lenet300-reference-s1.checkpoint")));
  // Nothing was killed on the way.
  for (const auto& entry : std::filesystem::directory_iterator(path("out")))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  Args again = args;
  again.push_back("--resume");
  Process process(app, again, folder.path());
  EXPECT_TRUE(process.says("going on in epoch", 30));
  process.send(SIGINT);
  EXPECT_TRUE(process.wait(kSoon));
  EXPECT_EQ(process.wait().code, 130);
}

TEST_F(Signals, EndTheMakingOfData) {
  expect_stopped(app, with("train", "synthetic:1000000:10", {}));
}

TEST_F(Signals, EndCompressionsThatDoNotTrain) {
  const std::string from = reference();
  expect_stopped(app,
                 with("compress", kTiny,
                      {"--from", from, "--method", "adaround", "--adaround-steps", "10000000"}),
                 "adaround, adaptive:2, seed 1, reference");
}

TEST_F(Signals, EndAllocationsEvaluationsAndBenches) {
  const auto cifar = program("cifar10");
  if (!std::filesystem::exists(cifar)) GTEST_SKIP() << cifar << " is not built";
  const Args net = {"--net", "resnet20"};
  const auto more = [&](Args args) {
    args.insert(args.end(), net.begin(), net.end());
    return args;
  };
  must({"train", "--data", kTiny, "--epochs", "1", "--out", path("ref"), "--quiet"});
  const Result trained = run(cifar,
                             more({"train", "--data", "synthetic:96:40", "--epochs", "1", "--out",
                                   path("ref"), "--augment", "none"}),
                             folder.path());
  ASSERT_EQ(trained.code, 0) << trained.error;
  const std::string from = path("ref/resnet20-reference-s1.json");
  expect_stopped(cifar,
                 {"compress", "--data", "synthetic:96:40", "--from", from, "--out", path("out"),
                  "--target-bpw", "3", "--method", "dc", "--threads", "1"},
                 "sensitivities (loss) of");
  expect_stopped(cifar, {"eval", from, "--data", "synthetic:96:20000", "--threads", "1"}, "Data: ");
  expect_stopped(cifar, more({"bench", "--data", "random", "--repeat", "1000", "--threads", "1"}),
                 "data: ");
  const auto tool = program("tessera");
  if (!std::filesystem::exists(tool)) return;
  expect_stopped(tool, {"verify", from, "--batch", "256"});
}

TEST_F(Signals, EndTheStory) {
  const Args args = {"--data", kTiny,       "--ref-epochs", "100000",
                     "--out",  path("out"), "--threads",    "1"};
  const Result result = stop(app, args, "lenet300, activation", SIGTERM);
  EXPECT_EQ(result.code, 143) << result.error;
}

TEST_F(Signals, IgnoredByTheParentStayIgnored) {
  Process process(app, with("train", kTiny, {"--epochs", "40"}), folder.path(),
                  {.ignores_interrupts = true});
  ASSERT_TRUE(process.says("training 40 epochs", 30));
  process.send(SIGINT);
  process.send(SIGINT);
  EXPECT_EQ(process.wait().code, 0);
}

TEST_F(Signals, OneProcessAtATimeWritesToAFolder) {
  const Args args = with("train", kTiny, {"--epochs", "100000"});
  const std::string from = reference();
  const std::string a = path("a");
  {
    std::filesystem::create_directory(a);  // stdout and stderr of the second are beside the first's
    Process first(app, args, a);
    ASSERT_TRUE(first.says("training 100000 epochs", 30));
    const std::string holder = cat("process ", first.id(), " is writing there");
    for (const Args& other : {with("train", kTiny, {"--name", "other", "--epochs", "1"}),
                              with("compress", kTiny, {"--from", from, "--method", "dc"}),
                              with("compare", kTiny, {"--from", from, "--methods", "dc"}),
                              Args{"--data", kTiny, "--out", path("out"), "--ref-epochs", "1"}}) {
      const std::string said = refused(other);
      EXPECT_NE(said.find(holder), std::string::npos) << said;
    }
    must({"export", from, path("w.safetensors"), "--quiet"});
    EXPECT_NE(refused({"import", path("w.safetensors"), "--data", kTiny, "--out", path("out")})
                  .find(holder),
              std::string::npos);
    // Reading and planning take no turn.
    must(with("compress", kTiny, {"--from", from, "--method", "dc", "--plan"}));
    first.send(SIGKILL);
    first.wait();
  }
  // The dead hold nothing.
  must(with("compress", kTiny, {"--from", from, "--method", "dc"}));
}

}  // namespace
}  // namespace tessera::testing
