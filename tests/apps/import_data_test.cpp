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

}  // namespace
}  // namespace tessera::testing
