// Every flag that a recipe has shapes the model: with another value the weights are others.
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class Flags : public MnistApp {
 protected:
  // The weights that a verb leaves in a folder of its own.
  std::string weights(Args args, const Args& more, const std::string& file) {
    const std::string out = cat("out", ++runs_);
    args.insert(args.end(), {"--data", "synthetic:300:50", "--out", path(out), "--threads", "1"});
    args.insert(args.end(), more.begin(), more.end());
    must(args);
    for (const auto& [name, bytes] : models(out)) {
      if (name.starts_with(file) && name.ends_with(".safetensors")) return bytes;
    }
    ADD_FAILURE() << out << " has no weights of " << file;
    return "";
  }

 private:
  int runs_ = 0;
};

TEST_F(Flags, OfTraining) {
  const auto train = [&](const Args& more) {
    return weights({"train", "--epochs", "3", "--batch", "100", "--quiet"}, more,
                   "lenet300-reference-s1");
  };
  const std::string plain = train({});
  EXPECT_TRUE(plain == train({}));
  const std::vector<Args> others = {{"--lr", "0.05"},
                                    {"--lr-decay", "0.5"},
                                    {"--lr-final", "1"},
                                    {"--momentum", "0.5"},
                                    {"--nesterov", "off"},
                                    {"--weight-decay", "0.01"},
                                    {"--label-smoothing", "0.1"},
                                    {"--warmup", "0.5"},
                                    {"--augment", "crop"},
                                    {"--r2", "linf", "--r2-weight", "0.01"},
                                    {"--r2", "margin", "--r2-weight", "0.01"},
                                    {"--r2", "softminmax", "--r2-weight", "0.01"},
                                    {"--r2", "linf", "--r2-weight", "0.02"}};
  std::map<std::string, Args> seen = {{plain, {"plain"}}};
  for (const Args& more : others) {
    const auto [at, fresh] = seen.emplace(train(more), more);
    EXPECT_TRUE(fresh) << more[0] << " " << more[1] << " is as " << at->second[0];
  }
}

TEST_F(Flags, OfMethods) {
  must({"train", "--data", "synthetic:300:50", "--out", path("ref"), "--epochs", "3", "--quiet"});
  const std::string from = path("ref/lenet300-reference-s1.json");
  const auto compress = [&](const std::string& method, const Args& more) {
    const Args args = {"compress",
                       "--from",
                       from,
                       "--method",
                       method,
                       "--bits",
                       "1",
                       "--train-epochs",
                       "4",
                       "--batch",
                       "100",
                       "--lc-steps",
                       "3",
                       "--lc-epochs",
                       "1",
                       "--first-epochs",
                       "1",
                       "--quiet",
                       "--adaround-steps",
                       "20"};
    return weights(args, more, "lenet300-" + method + "-adaptive2-s1");
  };
  const std::vector<std::pair<std::string, std::vector<Args>>> methods = {
      {"lc",
       {{"--mu", "0.01"},
        {"--mu-growth", "3"},
        {"--lr", "0.05"},
        {"--weight-decay", "0.01"},
        {"--entries", "bf16"},
        {"--entries", "s8"}}},
      {"idc", {{"--lr", "0.05"}, {"--momentum", "0.5"}}},
      {"mocq",
       {{"--mocq-penalty", "0.1"},
        {"--mocq-pull", "0.5"},
        {"--mocq-guard", "0.2"},
        {"--distill", "none"},
        {"--distill", "teacher"},
        {"--distill-alpha", "0.2"},
        {"--train-lr", "0.05"},
        {"--train-lr-final", "1"},
        {"--hard-from", "0.5"},
        {"--finish-from", "0.6"},
        {"--coefficient", "scheduled"},
        {"--coefficient", "augmented", "--mocq-pull", "0.001"},
        {"--coefficient", "joint", "--loss-weighting", "mgda"},
        {"--coefficient", "joint", "--loss-weighting", "upgrad"}}},
      {"qar", {{"--qar-pull", "0.5"}, {"--regularizer", "l1"}, {"--regularizer", "bins"}}},
      {"lnq",
       {{"--layerwise-samples", "50"},
        {"--layerwise-damping", "0.5"},
        {"--lnq-rounds", "1"},
        {"--lnq-passes", "1"}}},
      {"ewgs", {{"--ewgs-delta", "0.5"}}},
      {"dkm", {{"--dkm-begin", "3"}, {"--dkm-end", "0.01"}, {"--dkm-iterations", "1"}}},
      {"adaround",
       {{"--adaround-lr", "0.05"}, {"--adaround-lambda", "1"}, {"--adaround-batch", "8"}}},
      {"lsq", {{"--activation-bits", "2"}}}};
  for (const auto& [method, others] : methods) {
    std::map<std::string, Args> seen = {{compress(method, {}), {"plain", ""}}};
    for (const Args& more : others) {
      const auto [at, fresh] = seen.emplace(compress(method, more), more);
      EXPECT_TRUE(fresh) << method << " " << more[0] << " " << more[1] << " is as " << at->second[0]
                         << " " << at->second[1];
    }
  }
}

}  // namespace
}  // namespace tessera::testing
