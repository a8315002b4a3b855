// Trained networks of other programs, imported: they must give the logits that were measured with
// those programs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/files/import.h"
#include "datasets/cifar.h"
#include "datasets/imagenet.h"
#include "datasets/preprocess.h"
#include "datasets/text.h"
#include "models/lstm.h"
#include "models/zoo.h"
#include "nn/classification.h"
#include "nn/language_model.h"
#include "nn/trainer.h"
#include "tests/data_dir.h"
#include "tests/fill_xy.h"
#include "tests/golden/golden.h"

namespace tessera::models {
namespace {

using tessera::testing::fill_xy;

constexpr float kMean[] = {0.485f, 0.456f, 0.406f}, kStd[] = {0.229f, 0.224f, 0.225f};

std::optional<std::filesystem::path> net_file(const char* name) {
  const auto nets = testing::data_dir("nets");
  if (!nets || !std::filesystem::exists(*nets / name)) return std::nullopt;
  return *nets / name;
}

Model imported(const char* network, const std::filesystem::path& file,
               const ImportOptions& options) {
  const Built built = build(network);
  Model model = nn::initial_model(*built.network, built.sample);
  const ImportReport report = import_weights(file, model.state, options);
  EXPECT_TRUE(report.complete()) << report.text();
  return model;
}

TEST(Pretrained, ResNet20OnCifar10) {
  const auto file = net_file("resnet20_cifar10.safetensors");
  const auto cifar = testing::data_dir("cifar10");
  if (!file || !cifar) GTEST_SKIP() << "needs the real nets and cifar10";
  const Model model = imported("resnet20", *file, {});

  constexpr std::int64_t kImages = 1000;
  Tensor images(DType::u8, {kImages, 3, 32, 32}), labels(DType::s32, {kImages});
  datasets::read_cifar(*cifar / "cifar-10-batches-bin/test_batch_first1000.bin.xz", {{10}}, images,
                       labels);
  const auto preprocess = datasets::Preprocess::standard(3 * 32 * 32, kMean, kStd);
  const Tensor x = preprocess.apply(images).reshape({kImages, 3, 32, 32});
  const std::string expected =
      read_file(file->parent_path() / "resnet20_cifar10_logits_test1000.f32");
  ASSERT_EQ(expected.size(), kImages * 10 * sizeof(float));

  constexpr std::int64_t kBatch = 250;
  const Plan plan = compile(model, {.batch = kBatch});
  double worst = 0;
  std::int64_t correct = 0;
  for (std::int64_t first = 0; first < kImages; first += kBatch) {
    const auto out = plan.run({{"x", x.slice(first, first + kBatch)}});
    const auto logits = out.at("logits").span<float>();
    for (std::int64_t i = 0; i < kBatch; ++i) {
      const float* row = logits.data() + 10 * i;
      for (std::int64_t c = 0; c < 10; ++c) {
        float value = 0;
        std::memcpy(&value, expected.data() + ((first + i) * 10 + c) * 4, sizeof value);
        worst = std::max(worst, static_cast<double>(std::abs(value - row[c])));
      }
      correct += std::max_element(row, row + 10) - row ==
                 labels.span<std::int32_t>()[static_cast<std::size_t>(first + i)];
    }
  }
  EXPECT_LT(worst, 1e-3);
  EXPECT_EQ(correct, 915);
  RecordProperty("worst_difference", std::to_string(worst));
}

void expect_golden(const char* network, const Model& model, const Shape& sample, double scale) {
  const Json expected = testing::golden("pretrained.json")[network];
  Shape shape{1};
  for (const Dim d : sample.dims()) shape.push_back(d);
  const auto out = compile(model).run({{"x", testing::noise("x", shape, scale)}});
  const auto logits = out.at("logits").span<float>();
  EXPECT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(),
            expected["argmax"].get<std::int64_t>());
  for (std::size_t i = 0; i < expected["logits"].size(); ++i) {
    EXPECT_NEAR(logits[i], expected["logits"][i].get<double>(), 2e-3) << i;
  }
}

// Counts what is right among the 250 pictures, and compares the logit of the predicted class where
// the same class is predicted: pictures are decoded and cut as they were when it was stored.
void expect_pictures(const char* expected_name, const Model& model, std::int64_t crop,
                     const datasets::PixelFormat& format) {
  const auto pictures = testing::data_dir("imagenet-sample");
  const auto nets = testing::data_dir("nets");
  if (!pictures) GTEST_SKIP() << "needs the imagenet sample";
  const std::string path = (*nets / "expected.json").string();
  const Json expected = parse_json(read_file(path), path)[expected_name];
  const datasets::ImageBatches data(datasets::imagenet_val(*pictures),
                                    {.crop = crop, .format = format, .shuffle = false});
  ASSERT_EQ(data.samples(), 250);
  State state = model.state.clone();
  const auto result =
      nn::Evaluator(clone(model.graph),
                    std::make_shared<nn::Classification>(Shape{3, crop, crop}, 1000))(state, data);
  EXPECT_NEAR(result.value("correct"), expected["top1"].get<double>(), 2);
  EXPECT_NEAR(result.value("correct5"), expected["top5"].get<double>(), 2);

  constexpr std::int64_t kSome = 10;
  Tensor x(DType::f32, {kSome, 3, crop, crop}), y(DType::s32, {kSome});
  fill_xy(data, -1, 0, x, y);
  const Tensor logits = compile(model, {.batch = kSome}).run({{"x", x}}).at("logits");
  for (std::int64_t i = 0; i < kSome; ++i) {
    const Json& picture = expected["images"][static_cast<std::size_t>(i)];
    EXPECT_EQ(element(y, i), picture[1].get<double>());
    EXPECT_NEAR(element(logits, i * 1000 + picture[2].get<std::int64_t>()),
                picture[3].get<double>(), 0.02 * std::abs(picture[3].get<double>()))
        << picture[0];
  }
}

TEST(Pretrained, ResNet18OfImageNet) {
  const auto file = net_file("resnet18_imagenet_pq.safetensors.xz");
  if (!file) GTEST_SKIP() << "needs the real nets";
  // Its batch-norm is a scale and a bias: mean 0 and variance 1 are where the states start.
  const Model model = imported("resnet18", *file, {.optional = {R"(.*running_(mean|var))"}});
  expect_golden("resnet18", model, {3, 224, 224}, 2);
  expect_pictures("resnet18_imagenet_pq", model, 224, {});
}

TEST(Pretrained, SqueezeNetOfImageNet) {
  const auto file = net_file("squeezenet_v1.0_imagenet.safetensors.xz");
  if (!file) GTEST_SKIP() << "needs the real nets";
  const Model model =
      imported("squeezenet", *file,
               {.rules = {R"(/(fire\d)\/conv1x1_1\.(.*)/=$1.squeeze1x1.$2)",
                          R"(/(fire\d)\/conv(.x.)_2\.(.*)/=$1.expand$2.$3)",
                          "conv_final.weight=conv10.weight", "conv_final.bias=conv10.bias"}});
  expect_golden("squeezenet", model, {3, 227, 227}, 100);
  expect_pictures("squeezenet_v1.0_imagenet", model, 227, datasets::PixelFormat::caffe());
}

// The figures of its makers' protocol: ten streams, and one, whatever the window.
TEST(Pretrained, LstmOnTheTreebank) {
  const auto file = net_file("ptb_lstm100.safetensors");
  const auto dir = testing::data_dir("ptb");
  if (!file || !dir) GTEST_SKIP() << "the text or the network is not here";
  const datasets::TextSplit split = datasets::read_texts(*dir, datasets::TextUnit::word);
  const LstmLanguageModel network(10000, lstm_size("lstm100").size);
  const auto loss = [&](const datasets::Text& text, std::int64_t steps) {
    const auto task = std::make_shared<nn::LanguageModeling>(steps, 10000);
    Model model = nn::initial_model(network, *task);
    const ImportReport report = import_weights(
        *file, model.state,
        {.rules = {"embed.weight=embedding.weight", "lstm.Wx=lstm.0.weight_ih:t:parts(2,0,1,3)",
                   "lstm.Wh=lstm.0.weight_hh:t:parts(2,0,1,3)", "lstm.b=lstm.0.bias:parts(2,0,1,3)",
                   "affine.W=softmax.weight:t", "affine.b=softmax.bias"}});
    EXPECT_TRUE(report.complete()) << report.text();
    const datasets::TextStreams data(std::make_shared<datasets::Text>(text), 10000, 1, steps);
    return nn::Evaluator(model.graph, task)(model.state, data).loss();
  };
  EXPECT_NEAR(std::exp(loss(split.test, 35)), 135.8441, 0.001);
  EXPECT_NEAR(std::exp(loss(split.test, 100)), 135.8441, 0.001);
  // Ten streams of 235 windows of 35, a tenth of the text apart, each with a state of its own.
  double sum = 0;
  for (std::int64_t stream = 0; stream < 10; ++stream) {
    const auto first = split.test.tokens.begin() + stream * ((82430 - 1) / 10);
    sum += loss({.name = "stream", .tokens = {first, first + 235 * 35 + 1}}, 35);
  }
  EXPECT_NEAR(std::exp(sum / 10), 136.0776, 0.001);
}

}  // namespace
}  // namespace tessera::models
