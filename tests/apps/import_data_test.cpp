// A network that others trained, on the real test images.
#include "tests/apps/app.h"
#include "tests/data_dir.h"

namespace tessera::testing {
namespace {

using ImportedLenet = MnistApp;

TEST_F(ImportedLenet, KeepsItsAccuracy) {
  const auto data = data_dir("mnist"), nets = data_dir("nets");
  if (!data || !nets) GTEST_SKIP() << "the data set or the network is not here";
  const Json imported = json({"import", (*nets / "lenet300_mnist.safetensors").string(), "--data",
                              data->string(), "--out", path("out")});
  EXPECT_EQ(imported["correct"], 9787);
  const Json direct =
      json({"compress", "--data", data->string(), "--from", path("out/imported.json"), "--method",
            "dc", "--bits", "2", "--out", path("out")});
  EXPECT_EQ(direct["rows"][0]["error_before"].get<double>(), imported["test_error"].get<double>());
}

class ImportedResNet20 : public App {
 protected:
  ImportedResNet20() : App("cifar10") {}
};

TEST_F(ImportedResNet20, KeepsItsAccuracyAndMostOfItAtFourBits) {
  const auto data = data_dir("cifar10"), nets = data_dir("nets");
  if (!data || !nets) GTEST_SKIP() << "the data set or the network is not here";
  const Json imported =
      json({"import", (*nets / "resnet20_cifar10.safetensors").string(), "--net", "resnet20",
            "--preprocess", "imagenet", "--data", data->string(), "--out", path("out")});
  ASSERT_EQ(imported["parts"].size(), 2u);  // the whole test batch is not there
  EXPECT_EQ(imported["parts"][0]["samples"], 10000);
  EXPECT_EQ(imported["parts"][1]["samples"], 1000);
  EXPECT_EQ(imported["parts"][1]["correct"], 915);
  // The network was trained on batch 5: only the test images count.
  EXPECT_EQ(imported["samples"], 1000);
  EXPECT_EQ(imported["correct"], 915);
  EXPECT_EQ(imported["parts"][0]["seen"], true);
  const Json ptq =
      json({"compress", "--data", data->string(), "--from", path("out/imported.json"), "--method",
            "dc", "--bits", "4", "--group-rows", "4", "--out", path("out")});
  EXPECT_GE(ptq["rows"][0]["after"]["parts"][1]["correct"].get<int>(), 900);
}

class ImportedLstm : public App {
 protected:
  ImportedLstm() : App("ptb") {}
};

// Its makers' figures: 136.0776 on ten streams of 35 steps, 135.8441 on one.
TEST_F(ImportedLstm, KeepsItsPerplexity) {
  const auto data = data_dir("ptb"), nets = data_dir("nets");
  if (!data || !nets) GTEST_SKIP() << "the data set or the network is not here";
  const Json imported = json({"import", (*nets / "ptb_lstm100.safetensors").string(), "--net",
                              "lstm100", "--data", data->string(), "--out", path("out")});
  EXPECT_NEAR(imported["test_perplexity"].get<double>(), 135.8441, 0.001);
  EXPECT_EQ(imported["tokens"], 82430);
}

class ImportedOfImageNet : public App {
 protected:
  ImportedOfImageNet() : App("imagenet") {}
  Json import(const std::string& file, const Args& more) {
    const auto data = data_dir("imagenet-sample"), nets = data_dir("nets");
    Args args = {"import", (*nets / file).string(), "--data", data->string(), "--out", path("out")};
    args.insert(args.end(), more.begin(), more.end());
    return json(args);
  }
};

TEST_F(ImportedOfImageNet, KeepTheirAccuracy) {
  if (!data_dir("imagenet-sample") || !data_dir("nets")) GTEST_SKIP() << "no pictures, no networks";
  const Json resnet = import("resnet18_imagenet_pq.safetensors.xz",
                             {"--net", "resnet18", "--optional", ".*running_(mean|var)"});
  EXPECT_EQ(resnet["correct"], 187);
  EXPECT_EQ(resnet["correct5"], 230);
  const Json squeezenet =
      import("squeezenet_v1.0_imagenet.safetensors.xz",
             {"--net", "squeezenet", "--preprocess", "caffe", "--name", "squeezenet"});
  EXPECT_EQ(squeezenet["correct"], 157);
  EXPECT_EQ(squeezenet["correct5"], 206);
}

}  // namespace
}  // namespace tessera::testing
