// compress without training: methods that calibrate, batch norm, and bits for a size.
#include <algorithm>
#include <set>
#include <sstream>

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
                 "--calibration-samples",
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
  // From the network that the others start at, whose training flags have no say any more.
  Args from_reference(const std::string& name, Args args) const {
    for (const char* flag : {"--ref-epochs", "--ref-augment"}) {
      const auto at = std::find(args.begin(), args.end(), flag);
      args.erase(at, at + 2);
    }
    args.insert(args.end(), {"--name", name, "--from", path("o/resnet20-reference-s1.json")});
    return args;
  }
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
  const Json rows = json(from_reference("bn", args))["rows"], row = rows[0];
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
  const std::string kept = read_file(path("o/resnet20-sensitivity-fisher-s1.sensitivity"));
  EXPECT_EQ(json(args), result);
  EXPECT_EQ(read_file(path("o/resnet20-sensitivity-fisher-s1.sensitivity")), kept);
  Args other = args;
  other.insert(other.end(), {"--rule", "linear.*weight=adaptive:16"});
  EXPECT_NE(refused(other).find("rule.0"), std::string::npos);
}

// What a plan shows is what the run does, and it writes nothing.
TEST_F(PostTraining, ThePlanOfASizeShowsEachTensorsBits) {
  Args args = residual({"--target-bpw", "3", "--method", "dc", "--sensitivity", "fisher"});
  Args plan = args;
  plan.push_back("--plan");
  const std::string before = must(plan).out;
  EXPECT_NE(before.find("reference, which is to be trained first"), std::string::npos) << before;
  EXPECT_NE(before.find("These are the least: "), std::string::npos) << before;
  EXPECT_FALSE(std::filesystem::exists(path("o")));
  must(residual({"--bits", "1", "--method", "dc"}));  // the reference
  const auto files = [&] {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path("o"))) {
      EXPECT_NE(entry.path().extension(), ".tmp");
      ++count;
    }
    return count;
  };
  const std::size_t there = files();
  const std::string text = must(plan).out;
  EXPECT_EQ(files(), there);
  const Json allocation = json(args)["allocations"][0];
  std::set<int> bits;
  for (const Json& tensor : allocation["tensors"]) {
    const int b = tensor["bits"];
    bits.insert(b);
    const std::string name = tensor["name"], codebook = cat("adaptive:", 1 << b, ", ", b, " bits");
    bool found = false;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
      found =
          found || (line.find(" " + name + " ") != line.npos && line.find(codebook) != line.npos);
    EXPECT_TRUE(found) << name << " at " << b << " bits\n" << text;
  }
  EXPECT_GT(bits.size(), 1u);
}

TEST_F(PostTraining, ReportsAndComparisonsTakeSizes) {
  Args args =
      residual({"--target-bpw", "2.5", "--methods", "dc,fisher", "--sensitivity", "fisher"});
  args[0] = "compare";
  const Json result = json(args);
  ASSERT_EQ(result["rows"].size(), 2u);
  EXPECT_EQ(result["rows"][0]["codebook"], "bpw:2.5");
  EXPECT_EQ(result["allocations"].size(), 1u);
  EXPECT_LE(result["rows"][1]["bits_per_weight"].get<double>(), 2.5);
  EXPECT_EQ(result["rows"][0]["index_bytes"], result["rows"][1]["index_bytes"]);
  EXPECT_EQ(json(args)["rows"], result["rows"]);  // nothing ran again
  // Other settings are refused, and lose nothing.
  const std::string kept = read_file(path("o/resnet20-dc-bpw2.5-s1.result"));
  Args changed = args;
  changed.insert(changed.end(), {"--rule", "linear.*weight=adaptive:16"});
  EXPECT_NE(refused(changed).find("rule.0"), std::string::npos);
  EXPECT_EQ(read_file(path("o/resnet20-dc-bpw2.5-s1.result")), kept);
  const auto tool = program("tessera");
  if (!std::filesystem::exists(tool)) return;
  const auto report = [&] {
    return run(tool, {"report", path("o"), "--out", path("r.html")}, folder.path());
  };
  EXPECT_EQ(report().code, 0) << report().error;
  EXPECT_NE(read_file(path("r.html")).find("bpw:2.5"), std::string::npos);
  // Folders of before kept the sensitivities as a result.
  std::filesystem::rename(path("o/resnet20-sensitivity-fisher-s1.sensitivity"),
                          path("o/resnet20-sensitivity-fisher-s1.result"));
  EXPECT_EQ(report().code, 0) << report().error;
}

// Records like the set's, whose labels would not be allowed.
TEST_F(PostTraining, ImagesWithoutLabelsOfAFolder) {
  const auto write = [&](const std::string& file, int shade) {
    std::string bytes;
    for (int i = 0; i < 20; ++i) {
      bytes += '\377';
      for (int p = 0; p < 3072; ++p) bytes += static_cast<char>((p * (i + 3) + shade * i) % 256);
    }
    folder.write(file, bytes);
  };
  write("pictures/one.bin", 1);
  write("other/one.bin", 5);
  const auto with = [&](const std::string& pictures, const Args& more) {
    Args args = residual({"--bits", "2", "--method", "fisher,adaround", "--bn-reestimate", "1",
                          "--calibration", path(pictures)});
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  const Json rows = json(with("pictures", {}))["rows"];
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(json(with("pictures", {}))["rows"], rows);
  EXPECT_NE(refused(with("other", {})).find("calibration_sha256: was "), std::string::npos);
  const Json other = json(from_reference("other", with("other", {})))["rows"];
  EXPECT_NE(other[0]["loss_after"], rows[0]["loss_after"]);
  EXPECT_NE(refused(with("nowhere", {})).find("no such folder"), std::string::npos);
  EXPECT_NE(refused(with("o", {})).find("expected files *.bin"), std::string::npos);
  EXPECT_NE(refused(residual({"--calibration", "256"})).find("--calibration-samples"),
            std::string::npos);
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
  for (const std::string verb : {"compress", "compare"}) {
    Args args = residual({"--target-size", "9000", "--methods", "dc,lc"});
    args[0] = verb;
    const std::string said = refused(args);
    EXPECT_NE(said.find("the least possible are "), std::string::npos) << said;
    // What is said to be possible is.
    std::int64_t bytes = 0;
    for (const char c : said.substr(said.find("possible are ") + 13)) {
      if (c < '0' || c > '9') break;
      bytes = 10 * bytes + (c - '0');
    }
    *(std::find(args.begin(), args.end(), "9000")) = std::to_string(bytes);
    args.insert(args.end(), {"--ref-batch", "16", "--plan"});
    must(args);
  }
  EXPECT_FALSE(std::filesystem::exists(path("o")));  // before anything was trained
}

}  // namespace
}  // namespace tessera::testing
