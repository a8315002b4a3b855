// Re-estimated statistics against the training form of the same network with decoded weights.
#include "quant/calibrate/batch_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nn/classification.h"
#include "nn/conv.h"
#include "nn/norm.h"
#include "ops/op_list.h"
#include "quant/calibrate/calibration.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "tests/fill_xy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using tessera::testing::fill_xy;
using test::error_of;
using test::Noise;
using test::Scores;

constexpr std::int64_t kBatchSize = 16;

// Two batch norms, the second behind a residual sum, and one dropout that must stay off.
std::shared_ptr<nn::Sequential> network(double dropout) {
  nn::BatchNorm2dOptions all;
  all.momentum = 1;  // the running statistics become the batch's
  auto net = std::make_shared<nn::Sequential>();
  net->add("conv1", nn::Conv2d(3, 4, {3, 3}, {.padding = {1, 1}, .bias = false}));
  net->add("bn1", nn::BatchNorm2d(4, all)).add("act1", nn::ReLU());
  net->add(
      "block",
      nn::Residual(nn::Sequential(nn::Conv2d(4, 4, {3, 3}, {.padding = {1, 1}, .bias = false}))));
  net->add("bn2", nn::BatchNorm2d(4, all)).add("act2", nn::ReLU());
  net->add("pool", nn::GlobalAvgPool2d()).add("drop", nn::Dropout(dropout));
  net->add("fc", nn::Linear(4, 3));
  return net;
}

Codebooks quantized(nn::Trainer& trainer) {
  const auto plan =
      plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::adaptive(4), 0}, {}});
  const PostTraining dc = direct_compression();
  return compress(trainer, Noise(), plan, dc).codebooks;
}

TEST(BatchNormEstimate, IsTheAverageOfWhatTrainingSees) {
  nn::Trainer trainer = nn::classifier(network(0.5), {3, 9, 8}, 3);
  const Codebooks codebooks = quantized(trainer);
  Model model = harden(trainer, codebooks);
  const Model before{clone(model.graph), model.state.clone(), {}};
  const Noise data(2 * kBatchSize + 3);  // the incomplete batch is left out
  EXPECT_EQ(reestimate_batch_norm(model, data, kBatchSize), 2);

  Graph graph(ops::standard_ops());
  nn::Scope scope(graph, /*training=*/true);
  graph.set_output("logits", network(0)->forward(scope, graph.input("x", f32({kBatch, 3, 9, 8}))));
  for (const auto& p : trainer.states()) {
    std::vector<double> expected(4);
    for (const std::int64_t first : {std::int64_t{0}, kBatchSize}) {
      State state = decoded_state(trainer.state(), codebooks).clone();
      const Plan plan = compile(graph, {.batch = kBatchSize});
      RunContext context = plan.context(state);
      Tensor x(DType::f32, {kBatchSize, 3, 9, 8}), y(DType::s32, {kBatchSize});
      fill_xy(data, -1, first, x, y);
      context.bind("x", x);
      context.run();
      for (std::size_t c = 0; c < 4; ++c) expected[c] += state.get(p.name).span<float>()[c] / 2;
    }
    for (std::size_t c = 0; c < 4; ++c) {
      EXPECT_NEAR(model.state.get(p.name).span<float>()[c], expected[c], 2e-5)
          << p.name << " " << c;
      EXPECT_GT(std::abs(before.state.get(p.name).span<float>()[c] - expected[c]), 1e-3) << p.name;
    }
  }
  // Nothing else changed.
  for (const auto& [name, entry] : before.state.entries()) {
    if (name.find("running") != name.npos) continue;
    EXPECT_TRUE(equal_bits(entry.tensor, model.state.get(name))) << name;
  }
}

TEST(BatchNormEstimate, FewerSamplesThanABatchAreOneBatch) {
  nn::Trainer trainer = nn::classifier(network(0), {3, 9, 8}, 3);
  Model a = harden(trainer, quantized(trainer)), b{clone(a.graph), a.state.clone(), {}};
  reestimate_batch_norm(a, Noise(10), 100);
  reestimate_batch_norm(b, Noise(10), 10);
  EXPECT_TRUE(equal_bits(a.state, b.state));
}

TEST(BatchNormEstimate, RefusesWhatHasNoneOrIsBroken) {
  auto plain = std::make_shared<nn::Sequential>();
  plain->add("fc", nn::Linear(20, 4));
  Model dense = nn::inference_model(nn::classifier(plain, {20}, 4));
  EXPECT_EQ(error_of([&] { reestimate_batch_norm(dense, Scores(), 10); }),
            "the network has no batch norm to re-estimate");
  nn::Trainer trainer = nn::classifier(network(0), {3, 9, 8}, 3);
  Model model = harden(trainer, quantized(trainer));
  EXPECT_THROW(reestimate_batch_norm(model, Noise(), 0), Error);
  Tensor entries = model.state.get("conv1.weight.entries");
  entries.span<float>()[0] = std::nanf("");
  model.state.mark_updated("conv1.weight.entries");
  const Tensor mean = model.state.get("bn1.running_mean").clone();
  EXPECT_NE(error_of([&] { reestimate_batch_norm(model, Noise(), 16); }).find("'bn1.running_mean'"),
            std::string::npos);
  EXPECT_TRUE(equal_bits(mean, model.state.get("bn1.running_mean")));  // as it was
}

}  // namespace
}  // namespace tessera::quant
