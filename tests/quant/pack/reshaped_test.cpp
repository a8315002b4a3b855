// A network of other steps with the weights of a model: dense, packed and with corrections.
#include "quant/pack/reshaped.h"

#include <gtest/gtest.h>

#include "models/lstm.h"
#include "nn/evaluator.h"
#include "nn/language_model.h"
#include "quant/pack/harden.h"
#include "tests/error_of.h"

namespace tessera::quant {
namespace {

using tessera::testing::error_of;

constexpr std::int64_t kTokens = 30, kSteps = 5;

// The logits of a sequence in steps of one, each from what was carried of those before, are those
// of a window.
TEST(Reshaped, StepsOfOneGiveTheLogitsOfAWindow) {
  const models::LstmLanguageModel network(kTokens, {.layers = 2, .hidden = 16, .init = 0.5});
  const nn::LanguageModeling window(kSteps, kTokens), step(1, kTokens);
  const Model dense = nn::initial_model(network, window);
  Codebooks codebooks;
  for (const char* name : {"embedding.weight", "lstm.0.weight_hh", "lstm.1.weight_ih"}) {
    const Tensor& weight = dense.state.get(name);
    codebooks[name] =
        fit_tensor(name, CodebookSpec::adaptive(4), weight.shape(), 0, weight.span<float>(), {},
                   nullptr, std::string(name) == "lstm.1.weight_ih" ? 0.05 : 0);
  }
  const Model packed = harden(dense.graph, dense.state, codebooks);
  for (const Model* model : {&dense, &packed}) {
    const Model stepping = reshaped(nn::inference_graph(network, step), *model);
    EXPECT_EQ(stepping.state.entries().size(), model->state.entries().size());
    const std::vector<std::int32_t> tokens = {3, 1, 4, 1, 5};
    const Plan whole = compile(*model);
    RunContext all = whole.context();
    const Tensor x = Tensor::from(tokens, {1, kSteps});
    all.bind("x", x);
    all.run();
    const Plan single = compile(stepping, {.packed_only = model == &packed});
    RunContext context = single.context();
    Tensor one(DType::s32, {1, 1});
    context.bind("x", one);
    for (std::int64_t t = 0; t < kSteps; ++t) {
      one.span<std::int32_t>()[0] = tokens[static_cast<std::size_t>(t)];
      context.run();
      for (std::int64_t c = 0; c < kTokens; ++c)
        EXPECT_NEAR(element(context.output("logits"), c),
                    element(all.output("logits"), t * kTokens + c), 1e-5);
    }
  }
  const models::LstmLanguageModel other(kTokens, {.layers = 2, .hidden = 17});
  EXPECT_NE(error_of([&] {
              reshaped(nn::inference_graph(other, step), packed);
            }).find("'embedding.weight' must be f32[30,17]"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::quant
