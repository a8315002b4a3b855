// Figures of a network that another program trained: its training images count for none.
#include <gtest/gtest.h>

#include "apps/cli/task_flags.h"
#include "apps/images/zoo_network.h"
#include "datasets/batches.h"
#include "datasets/synthetic_digits.h"
#include "experiment/measure.h"

namespace tessera::apps {
namespace {

// Digits whose test images are 30 held out of a training set and 50 others, as CIFAR-10 without
// its test batch is.
Benchmark digits() {
  Benchmark out;
  out.name = "digits";
  out.networks = {"lenet300"};
  out.task = [](const std::string& name, const Config&) { return zoo_task(name, 10); };
  out.network = zoo_network;
  out.data = [](const DataRequest&) {
    const auto split = datasets::synthetic_digits({.train = 30, .test = 50});
    const auto pixels = datasets::Preprocess::minus_mean(split.train);
    const auto source = [&](const datasets::Dataset& set) {
      return std::make_shared<datasets::Batches>(set, pixels,
                                                 datasets::BatchOptions{.shuffle = false});
    };
    Data data;
    data.text = "digits";
    data.task = zoo_task("lenet300", 10);
    data.tests = {{"batch 5", source(split.train), true}, {"50 test images", source(split.test)}};
    return data;
  };
  return out;
}

// On a network of the benchmark as it is initialised.
Measured measured(const std::map<std::string, std::string>& settings, Task* made = nullptr) {
  const Benchmark benchmark = digits();
  NetworkFlags network(benchmark);
  DataFlags data(benchmark);
  data.take(settings);
  Data loaded = data.load(network.task()->inputs());
  Task task = make_task(loaded, network.build(*loaded.task));
  Model model = nn::initial_model(*task.network.network, *task.data.task);
  const Measured out = measure(model.graph, model.state, task.data);
  if (made != nullptr) *made = std::move(task);
  return out;
}

TEST(Seen, OurOwnNetworksAreMeasuredOnAllThatIsHeldOut) {
  Task task;
  const Measured own = measured({{"network", "lenet300"}}, &task);
  EXPECT_EQ(own.all.samples, 80);
  EXPECT_EQ(task.test->samples(), 80);
  EXPECT_NE(own.text().find("): batch 5 "), std::string::npos) << own.text();
  EXPECT_EQ(own.text().find("not counted"), std::string::npos);
}

TEST(Seen, ImportedOnesOnTestImagesOnly) {
  Task task;
  const Measured own = measured({}), imported = measured({{kImported, "sha256"}}, &task);
  EXPECT_EQ(imported.all.samples, 50);
  EXPECT_EQ(task.test->samples(), 50);  // what training that starts from it is watched on
  EXPECT_EQ(imported.all.value("correct"), own.parts[1].result.value("correct"));
  EXPECT_NEAR(imported.all.loss(), own.parts[1].result.loss(), 1e-9);
  ASSERT_EQ(imported.parts.size(), 2u);  // measured all the same, and said
  EXPECT_EQ(imported.parts[0].result.value("correct"), own.parts[0].result.value("correct"));
  EXPECT_NE(imported.text().find("of 50 correct); not counted, training samples of the data set: "
                                 "batch 5 "),
            std::string::npos)
      << imported.text();
  EXPECT_EQ(extra_columns(imported)[0], "batch 5 (training) %");

  const Json json = imported.json();
  EXPECT_EQ(json["samples"], 50);
  EXPECT_EQ(json["parts"][0]["seen"], true);
  EXPECT_FALSE(json["parts"][1].contains("seen"));
  const Measured again = Measured::parse(JsonAt(json, "stored"));
  EXPECT_EQ(again.text(), imported.text());
}

}  // namespace
}  // namespace tessera::apps
