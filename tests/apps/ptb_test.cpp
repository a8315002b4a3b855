// ptb on the built-in text and on small ones: trained, resumed, compressed, read by other windows,
// sampled, and what it refuses.
#include <algorithm>
#include <csignal>
#include <sstream>

#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class Ptb : public App {
 protected:
  Ptb() : App("ptb") {}
  Args train(const std::string& out, const Args& more = {}) const {
    Args args = {"train", "--data",   "synthetic:8000:1000",
                 "--net", "lstm100",  "--epochs",
                 "2",     "--window", "20",
                 "--out", path(out),  "--threads",
                 "2"};
    args.insert(args.end(), more.begin(), more.end());
    if (std::ranges::find(args, "--lr-steps") == args.end())
      args.insert(args.end(), {"--lr-steps", "1"});
    return args;
  }
};

// The rate falls, and training ends, by what the validation text says; the best epoch is kept.
TEST_F(Ptb, SchedulesLookAtTheValidationText) {
  Args args = train("out", {"--lr", "60", "--lr-plateau", "0.25", "--patience", "2", "--lr-steps",
                            "29", "--log", path("log.jsonl")});
  *std::next(std::ranges::find(args, "--epochs")) = "30";
  const Json trained = json(args);
  double best = 1e9, scale = 1;
  std::int64_t epochs = 0, worse = 0;
  std::istringstream lines(read_file(path("log.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    const Json event = parse_json(line, "log.jsonl");
    if (event["event"] == "epoch") {
      EXPECT_NEAR(event["lr"].get<double>(), 60 * scale, 1e-6);
      ++epochs;
    }
    if (event["event"] != "validation") continue;
    const double now = event["perplexity"];
    worse = now < best ? 0 : worse + 1;
    if (now >= best) scale *= 0.25;
    best = std::min(best, now);
  }
  EXPECT_LT(epochs, 30);
  EXPECT_EQ(worse, 2);
  const Json held = json(train("other", {"--validation", "own"}));
  EXPECT_EQ(held["rows"][0]["measured_on"], "validation");
  EXPECT_NE(
      refused({"train", "--data", "synthetic:8000:1000", "--lr-plateau", "2", "--out", path("out")})
          .find("--lr-plateau"),
      std::string::npos);
}

TEST_F(Ptb, TrainsCompressesAndSamples) {
  const Json trained = json(train("out"));
  const double before = trained["rows"][0]["test_perplexity"];
  EXPECT_LT(before, 40);
  const std::string dense = path("out/lstm100-reference-s1.json");
  const Args data = {"--data", "synthetic:8000:1000", "--threads", "2"};
  const auto with_data = [&](Args args) {
    args.insert(args.end(), data.begin(), data.end());
    return args;
  };
  const Json packed = json(with_data(
      {"compress", "--from", dense, "--method", "dc", "--bits", "4", "--out", path("out")}));
  EXPECT_LT(packed["rows"][0]["perplexity_after"].get<double>(), 1.5 * before);
  const std::string model = path("out/lstm100-dc-adaptive16-s1.json");
  const Json evaluated = json(with_data({"eval", model, "--packed-only"}));
  EXPECT_EQ(evaluated["test_perplexity"], packed["rows"][0]["perplexity_after"]);
  EXPECT_TRUE(evaluated["decoded"].empty());

  // Packed step by step; the same draws give the same text, whatever the size of the state.
  const auto text = [&](const std::string& seed) {
    return json(with_data(
        {"sample", model, "--tokens", "40", "--seed", seed, "--start", "some"}))["text"]
        .get<std::string>();
  };
  EXPECT_TRUE(text("1").starts_with("some "));
  EXPECT_EQ(text("1"), text("1"));
  EXPECT_NE(text("1"), text("2"));

  // Another text numbers its words in another way.
  std::string lines;
  for (int i = 0; i < 300; ++i) lines += "a b c\n";
  for (const char* part : {"train", "valid", "test"})
    folder.write(std::string("text/") + part + ".txt", lines);
  EXPECT_NE(refused({"sample", model, "--data", path("text")})
                .find("words are numbered by the training text, which is another here"),
            std::string::npos);
  EXPECT_NE(refused({"eval", dense, "--data", path("text")}).find("data synthetic, this run has"),
            std::string::npos);
}

TEST_F(Ptb, SameSeedSameBytesAlsoWhenResumed) {
  const auto args = [&](const std::string& out, const Args& more = {}) {
    Args all = train(out, {"--dropout", "0.2", "--checkpoint-seconds", "0"});
    *std::next(std::ranges::find(all, "--epochs")) = "12";
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  must(args("a"));
  must(args("b"));
  EXPECT_EQ(models("a").size(), 2u);
  EXPECT_TRUE(models("a") == models("b"));
  // Stopped in the middle of an epoch, with what was carried until then: as soon as a run has
  // written its first checkpoint.
  const std::filesystem::path checkpoint = path("c/lstm100-reference-s1.checkpoint");
  const auto written = [&] {
    std::error_code none;
    return std::filesystem::last_write_time(checkpoint, none);
  };
  for (int stop = 0; stop < 3; ++stop) {
    const auto before = written();
    Process process(app, args("c", {"--resume"}), folder.path());
    for (int i = 0; i < 4000 && written() == before; ++i) process.wait(0.005);
    process.send(SIGINT);
    const Result result = process.wait();
    EXPECT_EQ(result.code, 130) << result.error;
  }
  must(args("c", {"--resume"}));
  EXPECT_TRUE(models("a") == models("c"));
}

TEST_F(Ptb, Variants) {
  for (const Args& choice :
       {Args{"--tied", "yes"}, Args{"--norm", "layer"}, Args{"--norm", "weight"},
        Args{"--dropout-masks", "window", "--recurrent-dropout", "0.1", "--dropout", "0.1"}}) {
    EXPECT_LT(
        json(train(choice[1] + choice[0], choice))["rows"][0]["test_perplexity"].get<double>(), 80)
        << choice[1];
  }
}

TEST_F(Ptb, SaysWhatIsWrongWithATextOrAFlag) {
  const auto refused_text = [&](const std::string& text) {
    folder.write("text/train.txt", text);
    folder.write("text/valid.txt", "a b\n");
    folder.write("text/test.txt", "a b\n");
    return refused(
        {"train", "--data", path("text"), "--window", "2", "--streams", "1", "--batch", "1"});
  };
  EXPECT_NE(refused_text("").find("train.txt: there is no word in it"), std::string::npos);
  EXPECT_NE(refused_text("a \xff\n").find("line 1, byte 2: found byte 0xFF"), std::string::npos);
  EXPECT_NE(refused_text("a\n").find("'b' is none of the 2 words of the vocabulary"),
            std::string::npos);
  EXPECT_NE(refused({"train", "--data", path("text"), "--window", "50"}).find("'b' is none"),
            std::string::npos);
  folder.write("text/train.txt", "a b\n");
  EXPECT_NE(refused({"train", "--data", path("text")}).find("tokens are too few for"),
            std::string::npos);
  EXPECT_NE(refused({"train", "--data", path("nowhere")}).find("expected ptb.train.txt"),
            std::string::npos);
  EXPECT_NE(refused({"train", "--dropout", "1"}).find("--dropout must be a number of at least 0"),
            std::string::npos);
  EXPECT_NE(
      refused(train("x", {"--batch", "7"})).find("has 20 streams: expected one piece of each"),
      std::string::npos);
  EXPECT_NE(refused({"train", "--unit", "letter"}).find("--unit must be word or character"),
            std::string::npos);
}

TEST_F(Ptb, CharactersAndOwnValidation) {
  const Json trained =
      json({"train", "--data", "synthetic:2000:500", "--unit", "character", "--epochs", "1",
            "--lr-steps", "0.5", "--out", path("out"), "--validation", "own", "--threads", "2"});
  EXPECT_LT(trained["rows"][0]["validation_perplexity"].get<double>(), 40);
}

}  // namespace
}  // namespace tessera::testing
