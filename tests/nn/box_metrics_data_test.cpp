// The stored sets with what COCO's own evaluator says of them.
#include <gtest/gtest.h>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "datasets/coco.h"
#include "nn/box_metrics.h"
#include "tests/data_dir.h"

namespace tessera::nn {
namespace {

TEST(BoxMetricsData, GivesTheKnownAnswers) {
  const auto dir = testing::data_dir("coco");
  if (!dir) GTEST_SKIP() << "needs the data set coco";
  const auto checks = *dir / "map_check", file = checks / "expected.json";
  const Json document = parse_json(read_file(file), file.string());
  const JsonAt root(document, file.string());
  int sets = 0;
  root.each_field([&](const std::string& name, const JsonAt& expected) {
    if (!expected.value().is_object()) return;
    SCOPED_TRACE(name);
    ++sets;
    const std::string gt = expected.at("gt").text();
    const auto set =
        datasets::read_coco(std::filesystem::exists(checks / gt) ? checks / gt : *dir / gt);
    const auto results = datasets::read_coco_results(checks / expected.at("dt").text(), set);
    BoxEvaluation evaluation(set.category_ids());
    for (const auto& image : set.images) {
      const auto found = results.find(image.id);
      evaluation.add(image.id, image.boxes,
                     found == results.end() ? std::vector<DetectedBox>() : found->second);
    }
    const BoxMetrics m = evaluation.metrics();
    const auto metrics = m.metrics();
    int summary = 0;
    expected.at("summary").each_field([&](const std::string& key, const JsonAt& value) {
      const auto at = std::ranges::find_if(metrics, [&](const Metric& x) { return x.name == key; });
      ASSERT_NE(at, metrics.end()) << key;
      EXPECT_NEAR(at->value / (at->value < 0 ? 1 : 100), value.number(), 1e-6) << key;
      ++summary;
    });
    EXPECT_EQ(summary, 12);
    int categories = 0;
    expected.at("AP_per_category_id").each_field([&](const std::string& key, const JsonAt& value) {
      EXPECT_NEAR(m.category_ap.at(std::stoll(key)), value.number(), 1e-6) << key;
      ++categories;
    });
    EXPECT_GT(categories, 50);
  });
  EXPECT_EQ(sets, 2);
}

}  // namespace
}  // namespace tessera::nn
