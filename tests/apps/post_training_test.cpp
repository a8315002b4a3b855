// compress without training: methods that calibrate, batch norm, and bits for a size.
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class PostTraining : public App {
 protected:
  PostTraining() : App("cifar10") {}

  Args compress(const std::string& net, const Args& more) const {
    Args args = {"compress",
                 "--data",
                 "synthetic:96:40",
                 "--net",
                 net,
                 "--out",
                 path("o"),
                 "--calibration",
                 "12",
                 "--adaround-steps",
                 "3",
                 "--batch",
                 "16",
                 "--ref-epochs",
                 "1",
                 "--resume",
                 "--ref-augment",
                 "none"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  Args residual(const Args& more) const { return compress("resnet20", more); }
};

TEST_F(PostTraining, EveryMethodGivesAFileOfTheSameSize) {
  const Json result = json(residual({"--bits", "2", "--method", "dc,fisher,adaround"}));
  ASSERT_EQ(result["rows"].size(), 3u);
  for (const Json& row : result["rows"]) {
    EXPECT_EQ(row["index_bytes"], result["rows"][0]["index_bytes"]);
    EXPECT_EQ(row["codebook_bytes"], result["rows"][0]["codebook_bytes"]);
    EXPECT_GE(row["distance"].get<double>(), result["rows"][0]["distance"].get<double>());
  }
}

TEST_F(PostTraining, BatchNormIsEstimatedAnewInTheSavedModel) {
  const Json plain = json(residual({"--bits", "2", "--method", "dc"}))["rows"][0];
  EXPECT_FALSE(plain.contains("error_before_bn"));
  Args args = residual({"--bits", "2", "--method", "dc,fisher", "--bn-reestimate", "3"});
  EXPECT_NE(refused(args).find("bn_reestimate"), std::string::npos);  // another configuration
  args.insert(args.end(), {"--name", "bn", "--from", path("o/resnet20-reference-s1.json")});
  const Json rows = json(args)["rows"], row = rows[0];
  EXPECT_EQ(row["error_before_bn"], plain["error_after"]);
  EXPECT_EQ(rows[1]["error_dc"], row["error_after"]);  // the others' DC had the same done
  EXPECT_EQ(row["index_bytes"], plain["index_bytes"]);
  EXPECT_NE(row["loss_after"], plain["loss_after"]);
  EXPECT_NE(refused(compress("alexnet_cifar", {"--bn-reestimate", "3"})).find("no batch norm"),
            std::string::npos);
}

TEST_F(PostTraining, BitsForASize) {
  const Args args =
      residual({"--target-bpw", "2.5,4", "--method", "dc,fisher", "--sensitivity", "fisher"});
  const Json result = json(args);
  ASSERT_EQ(result["rows"].size(), 4u);
  EXPECT_EQ(result["rows"][0]["file"], "resnet20-dc-bpw2.5-s1.json");
  ASSERT_EQ(result["allocations"].size(), 2u);
  for (const Json& row : result["rows"]) {
    const bool small = row["codebook"] == "bpw:2.5";
    const Json& allocation = result["allocations"][small ? 0 : 1];
    EXPECT_LE(row["bits_per_weight"].get<double>(), small ? 2.5 : 4.0);
    EXPECT_GT(row["bits_per_weight"].get<double>(), small ? 2.4 : 3.9);
    EXPECT_EQ(row["index_bytes"].get<std::int64_t>() + row["codebook_bytes"].get<std::int64_t>(),
              allocation["bytes"].get<std::int64_t>());
    EXPECT_EQ(allocation["tensors"].size(), 20u);
  }
  // Sizes rise and losses fall along the front.
  const Json& pareto = result["pareto"];
  ASSERT_GT(pareto.size(), 20u);
  for (std::size_t i = 1; i < pareto.size(); ++i) {
    EXPECT_GT(pareto[i]["bytes"], pareto[i - 1]["bytes"]);
    EXPECT_LT(pareto[i]["predicted_loss"], pareto[i - 1]["predicted_loss"]);
  }
  // A run that goes on finds its sensitivities, and refuses those of other settings.
  const std::string kept = read_file(path("o/resnet20-sensitivity-fisher-s1.result"));
  EXPECT_EQ(json(args), result);
  EXPECT_EQ(read_file(path("o/resnet20-sensitivity-fisher-s1.result")), kept);
  Args other = args;
  other.insert(other.end(), {"--rule", "linear.*weight=adaptive:16"});
  EXPECT_NE(refused(other).find("rule.0"), std::string::npos);
}

TEST_F(PostTraining, RefusesTargetsThatCannotBe) {
  const auto message = [&](const Args& more) { return refused(residual(more)); };
  EXPECT_NE(message({"--target-bpw", "2", "--bits", "2"}).find("--target-bpw"), std::string::npos);
  EXPECT_NE(message({"--target-bpw", "2", "--target-size", "9000"}).find("exclude each other"),
            std::string::npos);
  EXPECT_NE(message({"--target-bpw", "many"}).find("'many'"), std::string::npos);
  EXPECT_NE(message({"--target-size", "0"}).find("--target-size"), std::string::npos);
  EXPECT_NE(message({"--sensitivity", "guess"}).find("--sensitivity"), std::string::npos);
  EXPECT_NE(
      message({"--target-bpw", "0.5", "--sensitivity", "fisher", "--method", "dc"}).find("too few"),
      std::string::npos);
}

}  // namespace
}  // namespace tessera::testing
