// LSTM language models: shapes, variants, and what memory is good for.
#include "models/lstm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <map>

#include "datasets/synthetic_text.h"
#include "nn/fit.h"
#include "nn/language_model.h"
#include "nn/schedule.h"
#include "ops/op_list.h"
#include "tests/error_of.h"

namespace tessera::models {
namespace {

using tessera::testing::error_of;

constexpr std::int64_t kTokens = 50, kSteps = 7;

std::map<std::string, std::string> parameters_of(LstmSize size, LstmChoices choices = {}) {
  const nn::Trainer trainer(std::make_shared<LstmLanguageModel>(kTokens, size, choices),
                            std::make_shared<nn::LanguageModeling>(kSteps, kTokens), {.batch = 2});
  std::map<std::string, std::string> out;
  for (const auto& p : trainer.parameters()) out[p.name] = p.type.shape.text();
  return out;
}

TEST(LstmModel, ParametersByName) {
  using Names = std::map<std::string, std::string>;
  EXPECT_EQ(parameters_of({.layers = 2, .hidden = 6, .embedding = 4}),
            (Names{{"embedding.weight", "[50,4]"},
                   {"lstm.0.weight_ih", "[24,4]"},
                   {"lstm.0.weight_hh", "[24,6]"},
                   {"lstm.0.bias", "[24]"},
                   {"lstm.1.weight_ih", "[24,6]"},
                   {"lstm.1.weight_hh", "[24,6]"},
                   {"lstm.1.bias", "[24]"},
                   {"softmax.weight", "[50,6]"},
                   {"softmax.bias", "[50]"}}));
  const Names tied = parameters_of({.hidden = 6}, {.tied = true, .norm = nn::RecurrentNorm::layer});
  EXPECT_FALSE(tied.contains("softmax.weight"));
  EXPECT_EQ(tied.at("lstm.0.gain_hh"), "[24]");
  EXPECT_EQ(error_of([] { LstmLanguageModel(5, {.hidden = 6, .embedding = 4}, {.tied = true}); }),
            "a tied softmax needs embeddings of 6 elements, as many as units, got 4");
  EXPECT_NE(error_of([] { lstm_size("lstm3000"); }).find("lstm300"), std::string::npos);
  for (const NamedLstm& size : lstm_sizes()) EXPECT_EQ(&lstm_size(size.name), &size);
}

std::shared_ptr<const datasets::TextStreams> streams(const datasets::TextSplit& split,
                                                     const datasets::Text& text, std::int64_t count,
                                                     std::int64_t steps) {
  return std::make_shared<datasets::TextStreams>(std::make_shared<datasets::Text>(text),
                                                 split.vocabulary->size(), count, steps);
}

nn::Trainer trainer_for(std::int64_t tokens, std::int64_t steps, LstmSize size,
                        LstmChoices choices = {}) {
  nn::TrainerOptions options;
  options.batch = 20;
  options.optimizer.name = "adam";
  options.optimizer.clip_norm = 1;
  return nn::Trainer(std::make_shared<LstmLanguageModel>(tokens, size, choices),
                     std::make_shared<nn::LanguageModeling>(steps, tokens), options);
}

// Interpolated Kneser-Ney (Chen & Goodman 1999): what a memory of `order` - 1 words is worth.
class KneserNey {
 public:
  KneserNey(const std::vector<std::int32_t>& tokens, int order, std::int64_t words)
      : order_(order), words_(words), levels_(static_cast<std::size_t>(order)) {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      for (int n = order; n >= 1 && i + 1 >= static_cast<std::size_t>(n); --n) {
        const std::vector<std::int32_t> gram(
            tokens.begin() + static_cast<std::ptrdiff_t>(i + 1) - n,
            tokens.begin() + static_cast<std::ptrdiff_t>(i + 1));
        // Lower orders count the words before which a gram was seen, not how often.
        auto& level = levels_[static_cast<std::size_t>(n - 1)];
        const std::vector<std::int32_t> context(gram.begin(), gram.end() - 1);
        auto& entry = level[context];
        const bool fresh = entry.counts.find(gram.back()) == entry.counts.end();
        ++entry.counts[gram.back()];
        ++entry.total;
        if (!fresh) break;
      }
    // Discounts by how many grams were seen once and twice (Ney, Essen & Kneser 1994).
    for (const auto& level : levels_) {
      double once = 0, twice = 0;
      for (const auto& [context, entry] : level)
        for (const auto& [word, count] : entry.counts) {
          once += count == 1;
          twice += count == 2;
        }
      discounts_.push_back(once > 0 ? once / (once + 2 * twice) : 0.5);
    }
  }

  double probability(std::vector<std::int32_t> context, std::int32_t word) const {
    if (std::ssize(context) > order_ - 1)
      context.erase(context.begin(), context.end() - (order_ - 1));
    double below = 1.0 / static_cast<double>(words_);
    for (std::size_t n = 0; n <= context.size(); ++n) {
      const auto found =
          levels_[n].find({context.end() - static_cast<std::ptrdiff_t>(n), context.end()});
      if (found == levels_[n].end()) break;
      const auto& [counts, total] = found->second;
      const double discount = discounts_[n];
      const auto seen = counts.find(word);
      const double own = seen == counts.end() ? 0 : std::max(seen->second - discount, 0.0);
      below = (own + discount * static_cast<double>(counts.size()) * below) / total;
    }
    return below;
  }

  double perplexity(const std::vector<std::int32_t>& tokens) const {
    double loss = 0;
    std::vector<std::int32_t> context = {tokens[0]};
    for (std::size_t i = 1; i < tokens.size(); ++i) {
      loss -= std::log(probability(context, tokens[i]));
      context.push_back(tokens[i]);
      if (std::ssize(context) >= order_) context.erase(context.begin());
    }
    return std::exp(loss / static_cast<double>(tokens.size() - 1));
  }

 private:
  struct Entry {
    std::map<std::int32_t, double> counts;
    double total = 0;
  };
  int order_;
  std::int64_t words_;
  std::vector<std::map<std::vector<std::int32_t>, Entry>> levels_;  // by words before
  std::vector<double> discounts_;
};

// On the built-in text a small LSTM finds what five words do not tell: which bracket closes, and
// which verbs a noun has.
TEST(LstmModel, BeatsAFiveGramOnTheBuiltInText) {
  const auto split = datasets::synthetic_text({.train = 60000, .validation = 3000, .test = 6000});
  const std::int64_t tokens = split.vocabulary->size();
  std::map<int, double> grams;
  for (const int order : {2, 3, 4, 5})
    grams[order] = KneserNey(split.train.tokens, order, tokens).perplexity(split.test.tokens);
  nn::Trainer trainer = trainer_for(tokens, 30, {.layers = 1, .hidden = 64});
  const auto train = streams(split, split.train, 20, 30), test = streams(split, split.test, 1, 30);
  const double before = trainer.evaluate(*test).value("perplexity");
  nn::fit(trainer, *train, {.epochs = 8, .lr = nn::cosine(0.01, 1e-3, 8)});
  const double after = trainer.evaluate(*test).value("perplexity");
  std::printf("perplexity: untrained %.1f, 3-gram %.3f, 5-gram %.3f, LSTM of 64 %.3f\n", before,
              grams[3], grams[5], after);
  EXPECT_NEAR(before, static_cast<double>(tokens), 0.1 * static_cast<double>(tokens));
  for (const auto& [order, perplexity] : grams) EXPECT_LT(after, 0.8 * perplexity) << order;

  // The figure does not depend on the window, and the test's tokens are all there.
  for (const std::int64_t steps : {1, 17, 100}) {
    nn::Trainer other = trainer_for(tokens, steps, {.layers = 1, .hidden = 64});
    nn::set_weights(other, trainer.state());
    const auto evaluation = other.evaluate(*streams(split, split.test, 1, steps));
    EXPECT_NEAR(evaluation.value("perplexity"), after, 1e-4 * after) << steps;
    EXPECT_EQ(evaluation.value("tokens"), std::ssize(split.test.tokens));
  }
  // What was carried is worth something: streams of a few words begin anew again and again.
  const auto cut = trainer.evaluate(*streams(split, split.test, 200, 30));
  EXPECT_GT(cut.value("perplexity"), 1.01 * after);
}

// Every variant learns.
TEST(LstmModel, Variants) {
  const auto split = datasets::synthetic_text({.train = 6000, .validation = 500, .test = 500});
  const std::int64_t tokens = split.vocabulary->size();
  const LstmChoices variants[] = {
      {.tied = true},
      {.same_dropout = true, .recurrent_dropout = 0.2},
      {.norm = nn::RecurrentNorm::layer},
      {.recurrent_dropout = 0.2, .norm = nn::RecurrentNorm::weight},
  };
  for (const LstmChoices& choices : variants) {
    nn::Trainer trainer =
        trainer_for(tokens, 20, {.layers = 2, .hidden = 32, .dropout = 0.1}, choices);
    const auto train = streams(split, split.train, 20, 20),
               test = streams(split, split.test, 1, 20);
    const double before = trainer.evaluate(*test).value();
    nn::fit(trainer, *train, {.epochs = 6, .lr = nn::constant(0.02)});
    EXPECT_LT(trainer.evaluate(*test).value(), 0.3 * before);
  }
}

// A row of ternary weights may be all zeros, which has no length to divide by.
TEST(LstmModel, WeightNormalizationOfRowsOfZeros) {
  const auto split = datasets::synthetic_text({.train = 3000, .validation = 500, .test = 500});
  nn::Trainer trainer = trainer_for(split.vocabulary->size(), 20, {.layers = 1, .hidden = 16},
                                    {.norm = nn::RecurrentNorm::weight});
  trainer.state().set("lstm.0.weight_hh", Tensor(DType::f32, {64, 16}));
  const auto train = streams(split, split.train, 20, 20), test = streams(split, split.test, 1, 20);
  EXPECT_LT(trainer.evaluate(*test).value(), 200);
  nn::fit(trainer, *train, {.epochs = 1, .lr = nn::constant(0.01)});
  EXPECT_LT(trainer.evaluate(*test).value(), 200);
}

// A training step holds the logits once: their gradient is written over them.
TEST(LstmModel, LogitsAreKeptOnce) {
  constexpr std::int64_t kWords = 10000, kWindow = 35, kLanes = 20;
  nn::Trainer trainer = trainer_for(kWords, kWindow, {.layers = 1, .hidden = 8});
  const std::int64_t logits = kWindow * kLanes * kWords * 4;
  EXPECT_GT(trainer.train_plan(kLanes).memory().arena, logits);
  EXPECT_LT(trainer.train_plan(kLanes).memory().arena, 3 * logits / 2);
}

// Distillation's loss to the task's own targets is the task's loss, with streams' ends left out.
TEST(LanguageModeling, LossesAgree) {
  Graph graph(ops::standard_ops());
  const nn::LanguageModeling task(3, 4);
  const nn::FieldInputs fields(graph, task.fields());
  const nn::Values outputs = {{"logits", graph.input("logits", f32({kBatch * 3, 4}))}};
  task.require_outputs(outputs);
  graph.set_output("loss", task.loss(fields, outputs, 0));
  graph.set_output("to", task.loss_to(fields, outputs, task.target(fields, outputs, 0)));
  graph.set_output("smooth", task.loss(fields, outputs, 0.2));
  graph.set_output("smooth_to", task.loss_to(fields, outputs, task.target(fields, outputs, 0.2)));
  graph.set_output("nats", task.measured(fields, outputs).at("nats"));
  std::vector<float> logits;
  for (int i = 0; i < 24; ++i) logits.push_back(0.3f * static_cast<float>(i * 7 % 11));
  const auto out =
      compile(graph, State(), {.batch = 2})
          .run({{"logits", Tensor::from(logits, {6, 4})},
                {"y", Tensor::from(std::vector<std::int32_t>{0, 1, 2, 3, 0, 0}, {2, 3})},
                {"weight", Tensor::from(std::vector<float>{1, 1, 1, 1, 0, 0}, {2, 3})}});
  const auto loss_of = [&](int row, int label) {
    double sum = 0;
    for (int c = 0; c < 4; ++c) sum += std::exp(logits[static_cast<std::size_t>(4 * row + c)]);
    return std::log(sum) - logits[static_cast<std::size_t>(4 * row + label)];
  };
  // Rows are steps first: step t of sample b is row 2 t + b.
  const double first = loss_of(0, 0) + loss_of(2, 1) + loss_of(4, 2), second = loss_of(1, 3);
  EXPECT_NEAR(element(out.at("nats"), 0), first, 1e-5);
  EXPECT_NEAR(element(out.at("nats"), 1), second, 1e-5);
  EXPECT_NEAR(element(out.at("loss"), 0), (first + second) / 4, 1e-5);
  EXPECT_NEAR(element(out.at("to"), 0), (first + second) / 4, 1e-5);
  EXPECT_NEAR(element(out.at("smooth"), 0), element(out.at("smooth_to"), 0), 1e-5);
  EXPECT_NE(element(out.at("smooth"), 0), element(out.at("loss"), 0));
}

}  // namespace
}  // namespace tessera::models
