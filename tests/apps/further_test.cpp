// train --from: what is trained further, as what, and what it says of itself.
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class Further : public MnistApp {
 protected:
  Args train(const std::string& out, const Args& more = {}) const {
    Args args = {"train",    "--data", kTiny,     "--out",     path(out),
                 "--epochs", "2",      "--quiet", "--threads", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  std::string model(const std::string& out) const {
    return path(out + "/lenet300-reference-s1.json");
  }
  Json document(const std::string& out) const {
    return parse_json(read_file(model(out)), model(out));
  }
  void expect_refused(const Args& args, const std::string& part) const {
    const std::string message = refused(args);
    EXPECT_NE(message.find(part), std::string::npos) << message << "should say " << part;
  }
};

TEST_F(Further, ActivationsBecomeQuantized) {
  must(train("dense"));
  const std::string from = model("dense");
  must(train("plain", {"--from", from}));
  must(train("coarse", {"--from", from, "--activation-bits", "1"}));
  EXPECT_EQ(document("coarse")["settings"]["activation_bits"], "1");
  EXPECT_NE(read_file(model("coarse")).find("\"round\""), std::string::npos);
  EXPECT_NE(document("coarse")["weights"], document("plain")["weights"]);
  // It stays what it is where nothing is said, and nothing else is taken for it.
  must(train("again", {"--from", model("coarse")}));
  EXPECT_EQ(document("again")["settings"]["activation_bits"], "1");
  const std::string holds = ": " + model("coarse") + " holds a network with ";
  expect_refused(train("no", {"--from", model("coarse"), "--activation-bits", "4"}),
                 "--activation-bits 4" + holds + "activations of 1 bits");
  expect_refused(train("no", {"--from", model("coarse"), "--activation-bits", "0"}),
                 "--activation-bits 0" + holds + "activations of 1 bits");
  expect_refused(train("no", {"--from", model("coarse"), "--activation-at", "activations"}),
                 "--activation-at activations" + holds + "quantized 'inputs'");
  for (const std::string verb : {"compress", "compare"}) {
    expect_refused({verb, "--data", kTiny, "--from", from, "--method", "dc", "--out", path("no"),
                    "--ref-activation-bits", "4"},
                   "--ref-activation-bits 4: " + from + " holds a network with f32 activations");
  }
  EXPECT_FALSE(std::filesystem::exists(path("no")));
}

TEST_F(Further, SettingsThatAreNotWholeAreNamed) {
  must(train("out", {"--activation-bits", "2"}));
  const Json whole = document("out");
  for (const std::string key : {"activation_quantizer", "activation_at"}) {
    Json part = whole;
    part["settings"].erase(key);
    folder.write("out/part.json", json_text(part));
    for (const Args& args :
         {Args{"eval", path("out/part.json"), "--data", kTiny},
          Args{"compress", "--data", kTiny, "--from", path("out/part.json"), "--plan"}}) {
      EXPECT_EQ(refused(args), path("out/part.json") +
                                   ": its settings have activation_bits, but no " + key + "\n");
    }
  }
  for (const auto& [key, value] : std::map<std::string, std::string>{
           {"activation_bits", "9"}, {"activation_quantizer", "x"}, {"activation_at", "x"}}) {
    Json other = whole;
    other["settings"][key] = value;
    folder.write("out/other.json", json_text(other));
    expect_refused({"eval", path("out/other.json"), "--data", kTiny}, path("out/other.json"));
  }
}

// A loss that JSON cannot hold ends training with what to do about it.
TEST_F(Further, WeightsOfNoUse) {
  const Args wild = {"--activation", "relu", "--batch", "600", "--lr", "1e9"};
  expect_refused(
      train("out", wild),
      "the loss on the test samples became no number in epoch 2 of 2, behind step 1; a smaller "
      "learning rate may help (it was 5.05e+08)");
  EXPECT_FALSE(std::filesystem::exists(model("out")));
}

}  // namespace
}  // namespace tessera::testing
