// Yolo-Fastest of its authors on real COCO pictures: average precision as it was measured when the
// network was stored.
#include <gtest/gtest.h>

#include "datasets/coco.h"
#include "datasets/jpeg.h"
#include "datasets/resize.h"
#include "models/darknet.h"
#include "nn/box_metrics.h"
#include "nn/detection.h"
#include "nn/evaluator.h"
#include "ops/op_list.h"
#include "tests/data_dir.h"

namespace tessera::models {
namespace {

TEST(DarknetData, YoloFastestFindsWhatItDidWhereItCameFrom) {
  const auto nets = testing::data_dir("nets"), coco = testing::data_dir("coco");
  if (!nets || !coco) GTEST_SKIP() << "needs the real nets and coco";
  const Darknet network(*nets / "yolo-fastest-1.1.cfg");
  EXPECT_EQ(network.sample(), Shape({3, 320, 320}));
  EXPECT_EQ(network.classes(), 80);
  EXPECT_EQ(network.places(), 3 * (10 * 10 + 20 * 20));
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph);
  for (const auto& [name, value] :
       network.forward(scope, {{"x", graph.input("x", f32({kBatch, 3, 320, 320}))}}))
    graph.set_output(name, value);
  State state;
  nn::initialize(state, scope.parameters(), 1);
  nn::initialize(state, scope.states(), 1);
  const State weights = network.read_weights(*nets / "yolo-fastest-1.1.weights");
  for (const auto& [name, entry] : weights.entries()) {
    ASSERT_EQ(state.get(name).shape(), entry.tensor.shape()) << name;
    state.set(name, entry.tensor);
  }
  EXPECT_EQ(weights.entries().size(), state.entries().size() - 6);  // cells, steps and anchors

  const auto folder = *coco / "val2017-57";
  const datasets::CocoSet set = datasets::read_coco(folder / "instances.json");
  const Plan plan = compile(graph, state, {.batch = 1});
  RunContext context = plan.context();
  Tensor x(DType::f32, {1, 3, 320, 320});
  context.bind("x", x);
  nn::BoxEvaluation evaluation(set.category_ids());
  datasets::Resizer resizer;
  datasets::RgbImage memory, small;
  std::vector<std::uint8_t> bytes;
  ASSERT_EQ(set.images.size(), 57u);
  for (const datasets::CocoImage& image : set.images) {
    const auto file = folder / "images" / image.file;
    datasets::read_bytes(file, bytes);
    datasets::JpegReader jpeg(bytes, file.string());
    const datasets::RgbView whole = jpeg.read(memory);
    resizer.run({whole.width, whole.height, 320, 320, {0, 0, 320, 320}}, whole, small);
    for (std::int64_t c = 0; c < 3; ++c) {
      for (std::int64_t row = 0; row < 320; ++row) {
        for (std::int64_t column = 0; column < 320; ++column) {
          x.span<float>()[static_cast<std::size_t>((c * 320 + row) * 320 + column)] =
              static_cast<float>(small.row(row)[3 * column + c]) / 255.0f;
        }
      }
    }
    context.run();
    const auto found = nn::detections_of(
        context.output("boxes").span<float>(), context.output("scores").span<float>(),
        set.category_ids(),
        Frame::whole(static_cast<double>(image.width), static_cast<double>(image.height)),
        {.least_score = 0.005, .most_overlap = 0.45});
    evaluation.add(image.id, image.boxes, found);
  }
  const nn::BoxMetrics m = evaluation.metrics();
  EXPECT_NEAR(m.ap50, 0.3017, 5e-4);
  EXPECT_NEAR(m.ap, 0.1377, 5e-4);
}

}  // namespace
}  // namespace tessera::models
