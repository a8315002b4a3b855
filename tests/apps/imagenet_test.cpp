// imagenet on a tree of small pictures that are made here, one of them broken.
#include "tests/apps/app.h"
#include "tests/datasets/pictures.h"

namespace tessera::testing {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class ImageNet : public App {
 protected:
  ImageNet() : App("imagenet") {}

  // Two classes; the fourth picture that is measured is no picture.
  void write_tree() {
    const std::string waves = datasets::encode_jpeg(datasets::waves(60, 50)),
                      pattern = datasets::encode_jpeg(datasets::pattern(50, 60));
    for (const std::string name : {"1.jpg", "2.jpg", "3.jpg"}) {
      folder.write("set/train/a/" + name, waves);
      folder.write("set/train/b/" + name, pattern);
    }
    folder.write("set/val/a/1.jpg", waves);
    folder.write("set/val/a/2.jpg", waves);
    folder.write("set/val/b/1.jpg", pattern);
    folder.write("set/val/b/2.jpg", pattern.substr(0, 100));
    folder.write("flat/labels.txt", "x.jpg 1\ny.jpg 0\n");
    folder.write("flat/x.jpg", pattern);
    folder.write("flat/y.jpg", waves);
  }
  Args train(const std::string& on_bad_image) const {
    return {"train",
            "--data",
            path("set"),
            "--net",
            "mobilenet_v2",
            "--width",
            "0.25",
            "--epochs",
            "1",
            "--batch",
            "4",
            "--out",
            path("out"),
            "--on-bad-image",
            on_bad_image,
            "--threads",
            "2"};
  }
};

TEST_F(ImageNet, TrainsOnATreeAndMeasuresAFlatFolder) {
  write_tree();
  EXPECT_TRUE(contains(refused(train("stop")), "b/2.jpg"));
  const Json trained = json(train("skip"));
  EXPECT_EQ(trained["rows"][0]["samples"], 4);  // the next good picture stands in
  ASSERT_EQ(trained["problems"].size(), 1u);
  EXPECT_TRUE(contains(trained["problems"][0].get<std::string>(), "2.jpg left out"));

  const Json eval =
      json({"eval", trained["rows"][0]["file"].get<std::string>(), "--data", path("flat")});
  EXPECT_EQ(eval["samples"], 2);
  EXPECT_FALSE(eval.contains("problems"));
  EXPECT_TRUE(contains(refused({"train", "--data", path("flat"), "--out", path("out")}),
                       "nothing to train on"));
}

// The broken picture is of the test set, which is not read.
TEST_F(ImageNet, HoldsTrainingPicturesOutInsteadOfReadingTheTestSet) {
  write_tree();
  Args args = train("stop");
  args.insert(args.end(), {"--validation", "2", "--augment", "crop,flip"});
  const Json row = json(args)["rows"][0];
  EXPECT_EQ(row["samples"], 2);
  EXPECT_EQ(row["measured_on"], "validation");
}

// Where there is nothing to train on, all that a list needs is asked first, and pictures without
// labels do for what only looks.
TEST_F(ImageNet, CompressesWithoutATrainingSet) {
  write_tree();
  const std::string from = json(train("skip"))["rows"][0]["file"];
  const auto compress = [&](const std::string& methods, const Args& more) {
    Args args = {"compress", "--data",      path("flat"), "--from", from,
                 "--out",    path("small"), "--methods",  methods,  "--adaround-steps",
                 "2",        "--threads",   "1"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  for (const std::string verb : {"compress", "compare"}) {
    Args args = compress("dc,fisher,adaround", {});
    args[0] = verb;
    const std::string said = refused(args);
    EXPECT_TRUE(contains(said, "no training samples, which fisher, adaround would look at"))
        << said;
    EXPECT_TRUE(contains(said, "--calibration DIR")) << said;
    args = compress("dc,lc", {"--calibration", path("set/val/a")});
    args[0] = verb;
    EXPECT_TRUE(contains(refused(args), "nothing to train on, which lc would do"));
  }
  EXPECT_TRUE(contains(refused(compress("dc", {"--bn-reestimate", "1"})), "--bn-reestimate"));
  EXPECT_TRUE(contains(refused(compress("dc", {"--activation-bits", "4"})), "--activation-bits"));
  Args target = compress("dc", {"--target-bpw", "4"});
  EXPECT_TRUE(contains(refused(target), "bit allocation"));
  EXPECT_FALSE(std::filesystem::exists(path("small")));

  const Json rows =
      json(compress("dc,fisher", {"--calibration", path("set/val/a"), "--calibration-samples", "2",
                                  "--bn-reestimate", "1", "--activation-bits", "8"}))["rows"];
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_TRUE(rows[1].contains("error_before_bn"));
  EXPECT_TRUE(contains(refused(compress("dc,fisher", {"--calibration", path("flat/labels.txt")})),
                       "no such folder"));
  std::filesystem::create_directory(path("empty"));
  EXPECT_TRUE(contains(refused(compress("dc,fisher", {"--calibration", path("empty")})),
                       "no *.jpg or *.jpeg"));
}

TEST_F(ImageNet, Usage) {
  EXPECT_TRUE(contains(refused({"train"}), "there is no built-in set"));
  EXPECT_TRUE(contains(refused({"train", "--on-bad-image", "hope"}), "stop or skip"));
  EXPECT_TRUE(contains(refused({"train", "--data", path("nowhere")}), "nowhere"));
}

}  // namespace
}  // namespace tessera::testing
