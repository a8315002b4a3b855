// compare: the same epochs for every method, problems that do not stop the rest, plans, and going
// on after a kill.
#include <csignal>
#include <thread>

#include "tests/apps/app.h"
#include "tests/report/markup.h"

namespace tessera::testing {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Compare : public MnistApp {
 protected:
  Args compare(const std::string& out, const std::string& methods, const Args& more) const {
    Args args = {"compare", "--data", kTiny, "--out", path(out), "--methods", methods};
    const Args small = {"--epochs",  "3", "--ref-epochs",         "2",
                        "--threads", "1", "--checkpoint-seconds", "0"};
    args.insert(args.end(), small.begin(), small.end());
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

std::vector<std::string> with_epochs(std::vector<std::string> args, const std::string& epochs) {
  *(std::find(args.begin(), args.end(), "--epochs") + 1) = epochs;
  return args;
}

TEST_F(Compare, TablesJsonAndReport) {
  // 256 entries for each row of 100 weights cannot work.
  const Args args = compare("out", "dc,lc", {"--bits", "1,8", "--group-rows", "1"});
  const std::string text = must(args).out;
  EXPECT_TRUE(contains(text, "no training")) << text;
  EXPECT_TRUE(contains(text, "difference to the reference in points"));
  EXPECT_TRUE(contains(text, "PROBLEM dc, adaptive:256, 1 row, seed 1: "));
  EXPECT_TRUE(contains(text, "entropy"));

  Args again = args;
  again.push_back("--resume");
  const Json all = json(again);
  ASSERT_EQ(all["rows"].size(), 2u);
  EXPECT_EQ(all["rows"][0]["epochs"], 0);
  EXPECT_EQ(all["rows"][1]["epochs"], 3);
  EXPECT_EQ(all["rows"][1]["config"]["method"], "lc");
  EXPECT_TRUE(all["rows"][1]["config"].contains("mu_growth"));
  EXPECT_EQ(all["failed"].size(), 2u);
  EXPECT_TRUE(contains(all["failed"][0]["problem"].get<std::string>(), "256 entries"));
  EXPECT_EQ(all["problems"].size(), 2u);
  ASSERT_EQ(all["best"].size(), 1u);
  const auto& rows = all["rows"];
  const bool dc = rows[0]["error_after"].get<double>() <= rows[1]["error_after"].get<double>();
  EXPECT_EQ(all["best"][0]["method"], dc ? "dc" : "lc");

  const std::string page = read_file(path("out/report.html"));
  EXPECT_EQ(markup_error(page), "");
  const std::string run = "lenet300-lc-adaptive2-g1-s1";
  EXPECT_TRUE(contains(page, "id=\"run-" + run + "\""));
  EXPECT_TRUE(contains(page, "id=\"run-lenet300-reference-s1\""));
  EXPECT_TRUE(contains(page, "fc1.weight"));
  const Json histograms = parse_json(read_file(path("out/" + run + ".histograms.json")), run);
  EXPECT_EQ(histograms["tensors"].size(), 3u);
  // Other settings under these names are an error before any work, and nothing is lost.
  EXPECT_TRUE(contains(refused(with_epochs(args, "2")), "is of other settings"));
  EXPECT_TRUE(std::filesystem::exists(path("out/" + run + ".result")));

  // The same from the folder alone, by the other program.
  const Result report = tessera::testing::run(
      program("tessera"), {"report", path("out"), "--out", path("again.html")}, folder.path());
  EXPECT_EQ(report.code, 0) << report.error;
  EXPECT_EQ(read_file(path("again.html")), page);

  // What is there was made by other settings: refused, and nothing is touched.
  const auto before = models("out");
  again.insert(again.end(), {"--mu", "0.5"});
  EXPECT_TRUE(contains(refused(again), "mu: was"));
  EXPECT_TRUE(models("out") == before);
}

TEST_F(Compare, PlanListsEveryRunAndStops) {
  const std::string text =
      must(compare("out", "all", {"--bits", "1,2", "--seeds", "1,2", "--plan"})).out;
  for (const char* run :
       {"reference-s2", "dc-adaptive2-s1", "idc-adaptive4-s2", "lc-adaptive4-s2"}) {
    EXPECT_TRUE(contains(text, cat("lenet300-", run))) << text;
  }
  EXPECT_TRUE(contains(text, "Expected for what is to do"));
  EXPECT_FALSE(contains(text, "PROBLEM [")) << text;  // every method's steps are timed
  EXPECT_TRUE(contains(text, "must have 2 bits, which three levels take")) << text;
  EXPECT_FALSE(std::filesystem::exists(path("out")));
}

TEST_F(Compare, GoesOnAfterAKill) {
  const Args more = {"--bits", "1", "--resume"};
  must(compare("whole", "dc,idc,lc", more));
  const auto whole = models("whole");
  {
    Process process(app, compare("killed", "dc,idc,lc", more), folder.path());
    // idc trains: its checkpoint is there, its result is not.
    const auto checkpoint = path("killed/lenet300-idc-adaptive2-s1.checkpoint");
    for (int i = 0; i < 2000 && !std::filesystem::exists(checkpoint); ++i) {
      ASSERT_FALSE(process.wait(0.005));
    }
    process.send(SIGKILL);
    EXPECT_EQ(process.wait().code, -SIGKILL);
  }
  EXPECT_LT(models("killed").size(), whole.size());
  EXPECT_TRUE(std::filesystem::exists(path("killed/lenet300-dc-adaptive2-s1.result")));
  const std::string text = must(compare("killed", "dc,idc,lc", more)).out;
  EXPECT_TRUE(contains(text, "reference, seed 1: already in")) << text;
  EXPECT_TRUE(contains(text, "dc, adaptive:2, seed 1: already done")) << text;
  EXPECT_TRUE(models("killed") == whole);
  EXPECT_EQ(markup_error(read_file(path("killed/report.html"))), "");
}

TEST_F(Compare, Refusals) {
  EXPECT_TRUE(contains(refused({"compare", "--methods", "magic"}), "'magic'"));
  EXPECT_TRUE(contains(refused({"compare", "--epochs", "0"}), "--epochs must be 1"));
  EXPECT_TRUE(contains(refused({"compare", "--bits", "9"}), "--bits must be 1 to 8"));
  EXPECT_TRUE(contains(refused({"compare", "--seeds", "x"}), "--seed"));
  EXPECT_TRUE(contains(refused({"compare", "--target-bpw", "3", "--bits", "2"}), "--target-bpw"));
}

}  // namespace
}  // namespace tessera::testing
