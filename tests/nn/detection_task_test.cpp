// The detection task: who answers for what, what the loss is, and that a perfect detector has AP
// 100.
#include "nn/detection_task.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "core/compile.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/error_of.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;

constexpr std::int64_t kMost = 3, kKinds = 2, kCells = 4;
// Cells of 8 and of 16 of 32 pixels, each standing for boxes four times as wide.
constexpr std::int64_t kPlaces = 16 + 4;

Detection task() {
  return Detection({3, 32, 32}, kKinds, kMost);
}

std::vector<float> priors() {
  std::vector<float> out;
  for (const int cells : {4, 2}) {
    const float w = 1.0f / static_cast<float>(cells);
    for (int y = 0; y < cells; ++y) {
      for (int x = 0; x < cells; ++x) {
        for (const float v :
             {(static_cast<float>(x) + 0.5f) * w, (static_cast<float>(y) + 0.5f) * w, w, w, w, w})
          out.push_back(v);
      }
    }
  }
  return out;
}

// Objects of one sample, as fields.
TensorMap fields_of(const std::vector<std::array<float, 4>>& boxes,
                    const std::vector<std::int32_t>& kinds,
                    const std::vector<std::int32_t>& crowds) {
  TensorMap out = batch_of(detection_fields(kKinds, kMost), 1);
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    for (std::size_t k = 0; k < 4; ++k) out.at("boxes").span<float>()[4 * i + k] = boxes[i][k];
    out.at("kinds").span<std::int32_t>()[i] = kinds[i];
    out.at("crowds").span<std::int32_t>()[i] = crowds[i];
    out.at("areas").span<float>()[i] = boxes[i][2] * boxes[i][3] * 32 * 32;
    out.at("ids").span<std::int32_t>()[i] = 1;
  }
  out.at("objects").span<std::int32_t>()[0] = static_cast<std::int32_t>(boxes.size());
  const Frame frame = Frame::whole(32, 32);
  std::ranges::copy(frame.numbers(), out.at("frame").span<float>().begin());
  return out;
}

struct Result {
  std::vector<float> target, loss;
  std::array<float, 2> parts = {};  // scores, boxes
  TensorMap measured;
};

// The task's graphs on outputs of a network.
Result run(const TensorMap& fields, const std::vector<float>& boxes,
           const std::vector<float>& scores) {
  const Detection detection = task();
  const std::int64_t batch = fields.at("objects").numel();
  Graph graph(ops::standard_ops());
  const Values outputs = {{"boxes", graph.input("out.boxes", f32({kBatch, kPlaces, 4}))},
                          {"scores", graph.input("out.scores", f32({kBatch, kPlaces, kKinds}))},
                          {"priors", graph.input("out.priors", f32({kBatch, kPlaces, 6}))}};
  detection.require_outputs(outputs);
  const FieldInputs of(graph, detection.fields());
  graph.set_output("target", detection.target(of, outputs, 0));
  graph.set_output("whole", detection.loss(of, outputs, 0));
  for (const NamedLoss& part : detection.losses(of, outputs, 0))
    graph.set_output("part." + part.name, part.value);
  for (const auto& [name, value] : detection.measured(of, outputs)) graph.set_output(name, value);
  const Plan plan = compile(graph, {.batch = batch});
  State none;
  RunContext context = plan.context(none);
  std::vector<Tensor> alive;
  std::vector<float> all_priors;
  for (std::int64_t i = 0; i < batch; ++i) {
    const std::vector<float> own = priors();
    all_priors.insert(all_priors.end(), own.begin(), own.end());
  }
  const auto bind = [&](const std::string& name, const Tensor& tensor) {
    if (plan.has_input(name)) context.bind(name, alive.emplace_back(tensor));
  };
  bind("out.boxes", Tensor::from(boxes, Shape{batch, kPlaces, 4}));
  bind("out.scores", Tensor::from(scores, Shape{batch, kPlaces, kKinds}));
  bind("out.priors", Tensor::from(all_priors, Shape{batch, kPlaces, 6}));
  for (const auto& [name, tensor] : fields) bind(name, tensor);
  context.run();
  Result out;
  out.target = context.output("target").to_vector<float>();
  out.loss = context.output("whole").to_vector<float>();
  for (const char* name : {"boxes", "scores", "loss"})
    out.measured.emplace(name, context.output(name).clone());
  out.parts = {context.output("part.scores").item(), context.output("part.boxes").item()};
  EXPECT_NEAR(out.loss[0], out.parts[0] + out.parts[1], 1e-5 * (1 + out.loss[0]));
  if (batch == 1) EXPECT_NEAR(out.loss[0], out.measured.at("loss").span<float>()[0], 1e-5);
  return out;
}

// Of each place: its kind by the largest target above 0 and the box it shall predict.
std::vector<int> kinds_of(const Result& r, std::vector<float>* boxes = nullptr) {
  std::vector<int> out;
  for (std::size_t p = 0; p < kPlaces; ++p) {
    const float* row = &r.target[p * (kKinds + 5)];
    out.push_back(row[kKinds + 4] == 0 ? -1 : row[0] > row[1] ? 0 : 1);
    if (boxes) boxes->insert(boxes->end(), row + kKinds, row + kKinds + 4);
  }
  return out;
}

std::vector<float> everywhere(const std::array<float, 4>& box) {
  std::vector<float> out;
  for (std::int64_t p = 0; p < kPlaces; ++p) out.insert(out.end(), box.begin(), box.end());
  return out;
}

// A small object is the matter of fine places around its centre, a large one of coarse places, and
// where both would be the smaller one counts.
TEST(DetectionTask, PlacesAnswerForObjectsOfTheirSizeNearby) {
  const std::array<float, 4> small = {0.125f, 0.125f, 0.2f, 0.2f}, large = {0.5f, 0.5f, 0.6f, 0.7f};
  const TensorMap fields = fields_of({small, large}, {1, 0}, {0, 0});
  // Predictions that overlap both, so that targets are above 0.
  const Result r =
      run(fields, everywhere({0.4f, 0.4f, 0.8f, 0.8f}), std::vector<float>(kPlaces * kKinds, 0.1f));
  std::vector<float> boxes;
  const std::vector<int> kinds = kinds_of(r, &boxes);
  std::vector<int> wanted(kPlaces, -1);
  wanted[0] = 1;  // 1/8, 1/8: within half a cell
  for (const int p : {16, 17, 18, 19}) wanted[static_cast<std::size_t>(p)] = 0;
  EXPECT_EQ(kinds, wanted);
  for (std::size_t k = 0; k < 4; ++k) {
    EXPECT_NEAR(boxes[k], small[k], 1e-6);
    EXPECT_NEAR(boxes[4 * 17 + k], large[k], 1e-6);
  }
  // The target of a score is the overlap of the place's box: 0.2^2 of 0.8^2.
  EXPECT_NEAR(r.target[1], 0.04 / 0.64, 1e-4);
}

TEST(DetectionTask, OfSeveralObjectsOfAPlaceTheSmallestCounts) {
  const std::array<float, 4> large = {0.375f, 0.375f, 0.25f, 0.25f},
                             small = {0.375f, 0.375f, 0.25f, 0.2f};
  const std::vector<float> boxes = everywhere(large), scores(kPlaces * kKinds, 0.1f);
  const std::size_t place = 1 * kCells + 1;
  EXPECT_EQ(kinds_of(run(fields_of({large, small}, {0, 1}, {0, 0}), boxes, scores))[place], 1);
  EXPECT_EQ(kinds_of(run(fields_of({small, large}, {1, 0}, {0, 0}), boxes, scores))[place], 1);
}

TEST(DetectionTask, CrowdsEmptyBoxesAndPaddingAreNobodysMatter) {
  const std::array<float, 4> crowd = {0.5f, 0.5f, 1, 1}, line = {0.6f, 0.6f, 0.3f, 0};
  const TensorMap fields = fields_of({crowd, line}, {0, 1}, {1, 0});
  std::vector<float> scores(kPlaces * kKinds, 0.9f);
  const Result r = run(fields, everywhere({0.5f, 0.5f, 0.3f, 0.3f}), scores);
  EXPECT_EQ(kinds_of(r), std::vector<int>(kPlaces, -1));
  EXPECT_NEAR(r.loss[0], 0, 1e-6);  // all of it within the crowd
  const Result empty = run(fields_of({}, {}, {}), everywhere({0.5f, 0.5f, 0.3f, 0.3f}), scores);
  EXPECT_GT(empty.loss[0], 10);
}

TEST(DetectionTask, TheLossFallsWithBetterBoxesAndScores) {
  const std::array<float, 4> box = {0.125f, 0.125f, 0.2f, 0.2f};
  const TensorMap fields = fields_of({box}, {1}, {0});
  std::vector<float> none(kPlaces * kKinds, 0.01f), right = none;
  right[1] = 0.99f;
  const auto loss = [&](const std::array<float, 4>& at, const std::vector<float>& scores) {
    return run(fields, everywhere(at), scores).loss[0];
  };
  const float best = loss(box, right);
  EXPECT_LT(best, 0.01);
  EXPECT_GT(loss(box, none), best + 1);
  EXPECT_GT(loss({0.3f, 0.125f, 0.2f, 0.2f}, right), best + 1);
  // A box that is apart is a matter of the boxes' part, at scores that do not know it.
  const auto parts = [&](const std::array<float, 4>& at) {
    return run(fields, everywhere(at), none).parts;
  };
  EXPECT_GT(parts({0.3f, 0.125f, 0.2f, 0.2f})[1], parts(box)[1] + 1);
  EXPECT_LE(parts({0.3f, 0.125f, 0.2f, 0.2f})[0], parts(box)[0]);
  // Apart: GIoU still says how far.
  EXPECT_GT(loss({0.9f, 0.125f, 0.2f, 0.2f}, right), loss({0.5f, 0.125f, 0.2f, 0.2f}, right));
}

// An object weighs as much in a full picture as in an empty one: the loss of a batch is that of all
// places together, though each picture's own is that of its places.
TEST(DetectionTask, EveryObjectOfABatchWeighsAlike) {
  const std::array<float, 4> small = {0.125f, 0.125f, 0.2f, 0.2f}, large = {0.5f, 0.5f, 0.6f, 0.7f};
  const TensorMap one = fields_of({small}, {1}, {0}),
                  two = fields_of({small, large}, {1, 0}, {0, 0});
  const std::vector<float> boxes = everywhere({0.4f, 0.4f, 0.5f, 0.6f}),
                           scores(kPlaces * kKinds, 0.2f);
  const double a = run(one, boxes, scores).loss[0], b = run(two, boxes, scores).loss[0];
  TensorMap both = batch_of(detection_fields(kKinds, kMost), 2);
  for (auto& [name, tensor] : both) {
    std::memcpy(tensor.data(), one.at(name).data(), static_cast<std::size_t>(one.at(name).bytes()));
    std::memcpy(tensor.data() + one.at(name).bytes(), two.at(name).data(),
                static_cast<std::size_t>(two.at(name).bytes()));
  }
  const auto twice = [](std::vector<float> v) {
    v.insert(v.end(), v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size()));
    return v;
  };
  const Result r = run(both, twice(boxes), twice(scores));
  // 1 place answers in the first, 1 + 4 in the second.
  EXPECT_NEAR(r.loss[0], (a * 1 + b * 5) / 6, 1e-4);
  EXPECT_NEAR(r.measured.at("loss").span<float>()[0], a, 1e-5);
  EXPECT_NEAR(r.measured.at("loss").span<float>()[1], b, 1e-5);
}

TEST(DetectionTask, MeterGivesCocosMetricsInThePictureItself) {
  const Detection detection = task();
  const std::array<float, 4> box = {0.5f, 0.5f, 0.5f, 0.5f};
  TensorMap fields = fields_of({box}, {1}, {0});
  // Shown is the middle of a picture of 100 x 50.
  const Frame frame{25, 0, 50, 50, 100, 50};
  std::ranges::copy(frame.numbers(), fields.at("frame").span<float>().begin());
  std::vector<float> scores(kPlaces * kKinds, 0.0f);
  scores[2 * 5 + 1] = 0.8f;
  std::vector<float> boxes = everywhere(box);
  const auto ap = [&] {
    auto meter = detection.meter();
    meter->add(fields,
               {{"boxes", Tensor::from(boxes, Shape{1, kPlaces, 4})},
                {"scores", Tensor::from(scores, Shape{1, kPlaces, kKinds})},
                {"loss", Tensor::from(std::vector<float>{0.5f}, Shape{1})}},
               "here");
    return meter->metrics();
  };
  auto metrics = ap();
  EXPECT_EQ(metrics.front().name, "AP");
  EXPECT_NEAR(metrics.front().value, 100, 1e-4);
  EXPECT_FALSE(metrics.front().lower_is_better);
  EXPECT_EQ(metrics.back().name, "loss");
  EXPECT_NEAR(metrics.back().value, 0.5, 1e-6);
  // IoU 0.35 / 0.65: a match at 0.5 alone, one of ten.
  boxes[4 * 5] += 0.15f;
  metrics = ap();
  EXPECT_NEAR(metrics[0].value, 10, 1e-4);
  EXPECT_NEAR(metrics[1].value, 100, 1e-4);
  // COCO's annotation 0 is matched by nothing.
  fields.at("ids").span<std::int32_t>()[0] = 0;
  EXPECT_NEAR(ap()[1].value, 0, 1e-6);
}

TEST(DetectionTask, DrawsObjectsAsOftenAsTheirScores) {
  const Detection detection = task();
  constexpr std::int64_t kSamples = 400;
  TensorMap fields = batch_of(detection.targets(), kSamples);
  std::vector<float> scores(static_cast<std::size_t>(kSamples * kPlaces * kKinds)), boxes;
  for (std::int64_t i = 0; i < kSamples; ++i) {
    const auto one = everywhere({0.25f, 0.75f, 0.5f, 0.25f});
    boxes.insert(boxes.end(), one.begin(), one.end());
    scores[static_cast<std::size_t>((i * kPlaces + 3) * kKinds + 1)] = 0.7f;
  }
  const TensorMap outputs = {{"boxes", Tensor::from(boxes, Shape{kSamples, kPlaces, 4})},
                             {"scores", Tensor::from(scores, Shape{kSamples, kPlaces, kKinds})}};
  detection.draw_targets(outputs, 1, 0, fields, "here");
  std::int64_t drawn = 0;
  for (const std::int32_t n : fields.at("objects").span<std::int32_t>()) drawn += n;
  EXPECT_NEAR(static_cast<double>(drawn) / kSamples, 0.7, 0.07);
  for (std::size_t i = 0; i < kSamples; ++i) {
    if (fields.at("objects").span<std::int32_t>()[i] == 0) continue;
    EXPECT_EQ(fields.at("kinds").span<std::int32_t>()[i * kMost], 1);
    EXPECT_NEAR(fields.at("boxes").span<float>()[4 * i * kMost + 1], 0.75, 1e-6);
    EXPECT_NEAR(fields.at("boxes").span<float>()[4 * i * kMost + 2], 0.5, 1e-6);
  }
}

TEST(DetectionTask, RefusesWhatItCannotCompare) {
  const Detection detection = task();
  Graph graph(ops::standard_ops());
  Values outputs = {{"boxes", graph.input("b", f32({kBatch, 5, 4}))},
                    {"scores", graph.input("s", f32({kBatch, 5, 7}))},
                    {"priors", graph.input("p", f32({kBatch, 5, 6}))}};
  EXPECT_NE(error_of([&] {
              detection.require_outputs(outputs);
            }).find("the model gives scores f32[batch,5,7], expected f32[batch,places,2]"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              Detection({3, 32, 32}, 0, 1);
            }).find("at least one kind"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              detection.loss({graph, detection.fields()}, outputs, 0.1);
            }).find("no labels to smooth"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::nn
