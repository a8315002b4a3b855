// --validation: what is held out trains nothing and is what every figure is of; the test set is
// left alone.
#include <algorithm>

#include "datasets/subset.h"
#include "datasets/synthetic_digits.h"
#include "tests/apps/app.h"
#include "tests/report/markup.h"

namespace tessera::testing {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Images u8 or labels s32 as an IDX file of bytes.
std::string idx(const Tensor& values) {
  const auto& dims = values.shape().dims();
  std::string out = datasets::big_endian(0x800 + static_cast<std::uint32_t>(dims.size()));
  for (const Dim dim : dims) {
    out += datasets::big_endian(static_cast<std::uint32_t>(dim.value()));
  }
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    out += static_cast<char>(static_cast<std::uint8_t>(element(values, i)));
  }
  return out;
}

class Validation : public MnistApp {
 protected:
  static constexpr std::int64_t kHeld = 60;

  static Args with(Args args, const Args& more) {
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  Args train(const std::string& out, const Args& more = {}) const {
    return with({"train", "--data", kTiny, "--out", path(out), "--epochs", "2", "--threads", "1"},
                more);
  }
  Args compress(const std::string& out, const Args& more = {}) const {
    const bool trains = std::find(more.begin(), more.end(), "--from") == more.end();
    const Args args = {"compress", "--data",    kTiny, "--out",      path(out), "--method",
                       "lc",       "--bits",    "1",   "--lc-steps", "2",       "--first-epochs",
                       "1",        "--threads", "1"};
    return with(trains ? with(args, {"--ref-epochs", "2"}) : args, more);
  }

  // Built-in digits as files. `other`: the pictures and labels of the samples that --validation
  // holds out are exchanged among them (the mean of all stays), and the test set is noise.
  std::string write_files(const std::string& name, bool other) {
    datasets::Split digits = datasets::synthetic_digits({.train = 600, .test = 100});
    auto& [train, test] = digits;
    if (other) {
      const auto held = datasets::hold_out(600, kHeld).held;
      const Tensor images = train.images.clone(), labels = train.labels.clone();
      for (std::size_t i = 0; i < held.size(); ++i) {
        const std::int64_t to = held[i], from = held[(i + 1) % held.size()];
        const std::int64_t pixels = train.pixels();
        std::copy_n(images.span<std::uint8_t>().begin() + from * pixels, pixels,
                    train.images.span<std::uint8_t>().begin() + to * pixels);
        train.labels.span<std::int32_t>()[static_cast<std::size_t>(to)] =
            9 - labels.span<std::int32_t>()[static_cast<std::size_t>(to)];
      }
      for (std::uint8_t& pixel : test.images.span<std::uint8_t>()) pixel ^= 0x5a;
      for (std::int32_t& label : test.labels.span<std::int32_t>()) label = 9 - label;
    }
    folder.write(name + "/train-images-idx3-ubyte", idx(train.images));
    folder.write(name + "/train-labels-idx1-ubyte", idx(train.labels));
    folder.write(name + "/t10k-images-idx3-ubyte", idx(test.images));
    folder.write(name + "/t10k-labels-idx1-ubyte", idx(test.labels));
    return path(name);
  }
};

TEST_F(Validation, TrainMeasuresWhatItHoldsOut) {
  const std::string text = must(train("out", {"--validation", "0.25"})).out;
  EXPECT_TRUE(contains(text, "150 of the training samples held out for validation")) << text;
  EXPECT_TRUE(contains(text, "validation error %")) << text;
  EXPECT_FALSE(contains(text, "test error")) << text;

  const Json trained = json(train("out", {"--validation", "150", "--resume"}));
  const Json& row = trained["rows"][0];
  EXPECT_EQ(row["samples"], 150);
  EXPECT_EQ(row["measured_on"], "validation");
  EXPECT_TRUE(row.contains("validation_error") && row.contains("validation_loss")) << row;
  EXPECT_FALSE(row.contains("test_error")) << row;
  EXPECT_EQ(trained["mean_validation_error"], row["validation_error"]);
  const std::string log = read_file(path("out/lenet300-reference-s1.log.jsonl"));
  EXPECT_TRUE(contains(log, "\"validation_error\""));
  EXPECT_FALSE(contains(log, "\"test_error\""));

  // Resuming with another number is refused, and so is none.
  EXPECT_TRUE(contains(refused(train("out", {"--validation", "100", "--resume"})), "validation"));
  EXPECT_TRUE(contains(refused(train("out", {"--resume"})), "validation"));
}

TEST_F(Validation, EvalReadsTheTestSetAtTheEnd) {
  must(train("out", {"--validation", "150", "--quiet"}));
  must(train("all", {"--quiet"}));
  const std::string model = path("out/lenet300-reference-s1.json");
  const Json held = json({"eval", model, "--data", kTiny, "--validation", "150"});
  EXPECT_EQ(held["samples"], 150);
  EXPECT_EQ(held["measured_on"], "validation");
  const Json test = json({"eval", model, "--data", kTiny});
  EXPECT_EQ(test["samples"], 100);
  EXPECT_EQ(test["measured_on"], "test");
  EXPECT_TRUE(test.contains("test_error")) << test;
  // Others than were held out may have trained it.
  EXPECT_TRUE(contains(refused({"eval", model, "--data", kTiny, "--validation", "100"}),
                       "validation 150, this run has 100"));
  EXPECT_TRUE(contains(refused({"eval", path("all/lenet300-reference-s1.json"), "--data", kTiny,
                                "--validation", "150"}),
                       "was made without --validation"));
  EXPECT_TRUE(contains(refused(compress("c", {"--from", path("all/lenet300-reference-s1.json"),
                                              "--validation", "150"})),
                       "was made without --validation"));
  // From a model that held some out, compress does too.
  const Json compressed = json(compress("c", {"--from", model}));
  EXPECT_EQ(compressed["rows"][0]["after"]["measured_on"], "validation");
  EXPECT_EQ(compressed["rows"][0]["samples"], 150);
}

// What another program trained may know every sample; a raw model is measured on test images.
TEST_F(Validation, OfWeightsFromElsewhereThereIsNone) {
  must(train("out", {"--validation", "150", "--quiet"}));
  must({"export", path("out/lenet300-reference-s1.json"), path("w.safetensors")});
  const Args import = {"import", path("w.safetensors"), "--data", kTiny, "--out", path("in")};
  EXPECT_TRUE(contains(refused(with(import, {"--validation", "150"})),
                       "--validation: another program may have trained these weights"));
  must(import);
  const std::string imported = path("in/imported.json"),
                    unknown =
                        "--validation 150: " + imported + " has its weights from another program";
  const Args held = {"--from", imported, "--validation", "150"};
  EXPECT_TRUE(contains(refused(compress("c", held)), unknown));
  EXPECT_TRUE(contains(refused(train("t", held)), unknown));
  EXPECT_TRUE(contains(
      refused(with({"compare", "--data", kTiny, "--out", path("c"), "--methods", "dc"}, held)),
      unknown));
  EXPECT_TRUE(
      contains(refused({"eval", imported, "--data", kTiny, "--validation", "150"}), unknown));
  // As an earlier version could import it.
  std::string text = read_file(imported);
  text.replace(text.find("\"imported\""), 0, "\"validation\": \"150\", ");
  folder.write("in/imported.json", text);
  EXPECT_TRUE(contains(refused(compress("c", {"--from", imported})), unknown));
  // Trained further it is still from elsewhere.
  must(with(import, {"--overwrite"}));
  must(train("t", {"--from", imported, "--quiet"}));
  const std::string further = path("t/lenet300-reference-s1.json");
  const Json settings = parse_json(read_file(further), further)["settings"];
  EXPECT_EQ(settings["imported"],
            parse_json(read_file(imported), imported)["settings"]["imported"]);
  EXPECT_TRUE(contains(refused(compress("c", {"--from", further, "--validation", "150"})),
                       "--validation 150: " + further));
}

TEST_F(Validation, OfRawModelsThereIsNone) {
  must(train("out", {"--validation", "150", "--quiet"}));
  must({"export", path("out/lenet300-reference-s1.json"), path("raw.json"), "--raw", "--data",
        kTiny});
  EXPECT_TRUE(contains(
      refused({"eval", path("raw.json"), "--data", kTiny, "--validation", "150"}),
      "--validation 150: a model that carries its preprocessing is measured on test images"));
  EXPECT_EQ(json({"eval", path("raw.json"), "--data", kTiny})["measured_on"], "test");
}

TEST_F(Validation, CompareAndItsPageSayValidation) {
  const std::string text =
      must({"compare", "--data", kTiny, "--out", path("out"), "--methods", "dc,lc", "--bits", "1",
            "--epochs", "3", "--ref-epochs", "2", "--threads", "1", "--validation", "150"})
          .out;
  EXPECT_TRUE(contains(text, "Validation error in percent")) << text;
  EXPECT_TRUE(contains(text, "C step")) << text;
  EXPECT_FALSE(contains(text, "est error")) << text;
  for (const std::string& page : {read_file(path("out/report.html")), [&] {
                                    run(program("tessera"),
                                        {"report", path("out"), "--out", path("again.html")},
                                        folder.path());
                                    return read_file(path("again.html"));
                                  }()}) {
    EXPECT_EQ(markup_error(page), "");
    EXPECT_TRUE(contains(page, "Validation error in percent"));
    EXPECT_TRUE(contains(page, "Validation error of the compressed network"));
    EXPECT_TRUE(contains(page, "Validation error in training"));
    EXPECT_FALSE(contains(page, "est error"));
    EXPECT_FALSE(contains(page, "test_error"));
  }
}

// No model depends on what is held out or on the test set: not by training, C steps, Fisher
// information, calibration, ranges of activations or what the reference predicts.
TEST_F(Validation, WhatIsHeldOutReachesNoModel) {
  const auto run_on = [&](const std::string& data, const std::string& out) {
    Args args = compress(out, {"--validation", std::to_string(kHeld)});
    *(std::find(args.begin(), args.end(), "--data") + 1) = data;
    *(std::find(args.begin(), args.end(), "--method") + 1) = "lc,fisher,adaround";
    const Json first = json(with(args, {"--adaround-steps", "3"}));
    *(std::find(args.begin(), args.end(), "--method") + 1) = "mocq,lsq";
    const Json rows = json(with(args, {"--activation-bits", "4", "--distill", "memory", "--name",
                                       "trained", "--train-epochs", "3"}))["rows"];
    for (const auto& row : rows) EXPECT_EQ(row["samples"], kHeld);
    return first;
  };
  const auto a = run_on(write_files("data", false), "a"),
             b = run_on(write_files("other", true), "b");
  EXPECT_EQ(models("a").size(), 14u);  // 2 references, 5 methods; two files each
  for (const auto& [name, content] : models("a")) {
    EXPECT_TRUE(models("b").at(name) == content) << name;
  }
  EXPECT_NE(a["rows"][0]["after"], b["rows"][0]["after"]);  // which are measured
}

TEST_F(Validation, Refusals) {
  for (const std::string bad : {"0", "-1", "1.5", "x", "5x", "nan", "inf", "1e300"}) {
    EXPECT_TRUE(contains(refused(train("out", {"--validation", bad})), "--validation")) << bad;
  }
  EXPECT_TRUE(contains(refused(train("out", {"--validation", "600"})), "1 to 599 of the 600"));
  EXPECT_TRUE(contains(refused(train("out", {"--validation", "0.0001"})), "got 0"));
  EXPECT_FALSE(std::filesystem::exists(path("out")));
}

}  // namespace
}  // namespace tessera::testing
