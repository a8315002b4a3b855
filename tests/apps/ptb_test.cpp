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
    return json({"sample", model, "--tokens", "40", "--seed", seed, "--start", "some"})["text"]
        .get<std::string>();
  };
  EXPECT_TRUE(text("1").starts_with("some "));
  EXPECT_EQ(text("1"), text("1"));
  EXPECT_NE(text("1"), text("2"));

  // A window is how a text is cut; the figure is the text's.
  const double other = json(with_data({"eval", model, "--window", "7"}))["test_perplexity"];
  EXPECT_NEAR(other, evaluated["test_perplexity"].get<double>(), 1e-4 * other);
}

// The model knows its words: another text is read by their numbers, with its test text alone.
TEST_F(Ptb, AModelCarriesItsVocabulary) {
  must(train("out"));
  const std::string model = path("out/lstm100-reference-s1.json");
  const std::string words = parse_json(read_file(model), model)["attached"]["vocabulary"];
  const std::string first = words.substr(0, words.find('\n'));
  folder.write("text/test.txt", first + " " + first + "\n" + first + "\n");
  const Json evaluated = json({"eval", model, "--data", path("text"), "--window", "2"});
  EXPECT_EQ(evaluated["tokens"], 5);
  folder.write("text/test.txt", first + " zzz\n" + first + "\n");
  EXPECT_NE(refused({"eval", model, "--data", path("text"), "--window", "2"})
                .find("'zzz' is none of the"),
            std::string::npos);
  EXPECT_NE(refused({"sample", model, "--start", "zzz"}).find("'zzz' is none of the"),
            std::string::npos);
  // Nobody means the built-in text by leaving --data out.
  must({"export", model, path("other.json")});
  std::string text = read_file(model);
  const auto replace = [&](const std::string& from, const std::string& to) {
    ASSERT_NE(text.find(from), std::string::npos);
    text.replace(text.find(from), from.size(), to);
  };
  replace("\"data\":\"synthetic\"", "\"data\":\"ptb\"");
  folder.write("out/lstm100-reference-s1.json", text);
  EXPECT_NE(refused({"eval", model}).find("data ptb, this run has synthetic"), std::string::npos);
  // A vocabulary that is not the model's.
  replace(first + "\\n", "zzz\\n");
  folder.write("out/lstm100-reference-s1.json", text);
  EXPECT_NE(refused({"sample", model}).find("words have other numbers here"), std::string::npos);
  replace("zzz\\n", "\\n");
  folder.write("out/lstm100-reference-s1.json", text);
  EXPECT_NE(refused({"sample", model}).find("token 0 of a vocabulary is empty"), std::string::npos);
}

// Layers' inputs and each state before its product take few values, in ranges that a model carries.
TEST_F(Ptb, QuantizesActivations) {
  must(train("out"));
  const std::string dense = path("out/lstm100-reference-s1.json");
  const auto compressed = [&](const std::string& bits) {
    return json({"compress", "--from", dense, "--method", "dc", "--bits", "8", "--activation-bits",
                 bits, "--data", "synthetic:8000:1000", "--out",
                 path("a" + bits)})["rows"][0]["perplexity_after"]
        .get<double>();
  };
  const double fine = compressed("8"), coarse = compressed("1");
  EXPECT_LT(
      fine,
      1.02 *
          json({"eval", dense, "--data", "synthetic:8000:1000"})["test_perplexity"].get<double>());
  EXPECT_GT(coarse, 1.02 * fine);
  const std::string model = path("a8/lstm100-dc-adaptive256-s1.json");
  const Json same = json({"eval", model, "--data", "synthetic:8000:1000", "--window", "7"});
  EXPECT_NEAR(same["test_perplexity"].get<double>(), fine, 1e-4 * fine);
  must({"sample", model, "--tokens", "5"});
  const std::string text = read_file(model);
  folder.write("a8/lstm100-dc-adaptive256-s1.json",
               std::string(text).replace(text.find("activation_ranges"), 10, "annotation"));
  EXPECT_NE(refused({"sample", model}).find("calibrated ranges, which are not attached to it"),
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
       {Args{"--batch", "7"},  // as many streams
        Args{"--tied", "yes"}, Args{"--norm", "layer"}, Args{"--norm", "weight"},
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
    return refused({"train", "--data", path("text"), "--window", "2", "--batch", "1"});
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
  EXPECT_NE(refused({"train", "--unit", "letter"}).find("--unit must be word or character"),
            std::string::npos);
  // Before any training, and in a plan.
  for (const char* method : {"lnq", "adaround"}) {
    const std::string why = refused({"compress", "--plan", "--method", method});
    EXPECT_NE(why.find("'embedding.weight' is read by 'embedding', "), std::string::npos) << why;
    EXPECT_EQ(why.find("softmax.weight"), std::string::npos) << why;
  }
}

// Rates count tokens, 35 of a window and one of a step, and the work of both is that of one token
// times their number.
TEST_F(Ptb, BenchCountsTokens) {
  const Json timed = json({"bench", "--data", "synthetic:8000:1000", "--net", "lstm100", "--infer",
                           "--bits", "2", "--repeat", "1", "--threads", "1"})["inference"];
  ASSERT_EQ(timed.size(), 8u);  // f32 and 2 bits, windows and steps, batches 1 and 20
  for (std::size_t i = 0; i < timed.size(); ++i) {
    const Json& row = timed[i];
    const bool step = row["model"].get<std::string>().ends_with(", stepwise");
    EXPECT_EQ(step, i % 4 >= 2) << row;
    const double tokens = row["batch"].get<double>() * (step ? 1 : 35);
    EXPECT_NEAR(row["tokens_per_second"].get<double>(),
                1e6 * tokens / row["least_us"].get<double>(),
                1e-6 * row["tokens_per_second"].get<double>());
    EXPECT_GT(row["floor_us"], 0);
    const double one = timed[i / 4 * 4 + 2]["flops"];
    EXPECT_NEAR(row["flops"].get<double>(), tokens * one, 1e-9 * tokens * one);
    EXPECT_TRUE(row["decoded"].empty());
  }
}

TEST_F(Ptb, CharactersAndOwnValidation) {
  const Json trained =
      json({"train", "--data", "synthetic:2000:500", "--unit", "character", "--epochs", "1",
            "--lr-steps", "0.5", "--out", path("out"), "--validation", "own", "--threads", "2"});
  EXPECT_LT(trained["rows"][0]["validation_perplexity"].get<double>(), 40);
}

}  // namespace
}  // namespace tessera::testing
