// Methods joined by '+'.
#include "quant/method/combination.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/interrupt.h"
#include "tests/datasets/temp_dir.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::error_of;
using test::Scores;

Settings short_runs() {
  Settings out = method_settings();
  out.set({{"train-epochs", 2},
           {"train-lr", 0.05},
           {"lc-steps", 2},
           {"lc-epochs", 1},
           {"first-epochs", 1},
           {"lr", 0.05},
           {"mu", 1e-3},
           {"layerwise-samples", 96}});
  return out;
}

CompressionPlan two_entries(const nn::Trainer& t) {
  return plan_compression(t.parameters(), t.state(), {.weights = {CodebookSpec::adaptive(2)}});
}

struct Done {
  CompressResult result;
  State state;
};

Done run(const std::string& name, const Settings& settings, const CompressOptions& options = {}) {
  nn::Trainer t = test::reference();
  AnyMethod method = method_row(name).make(settings);
  Done out{compress(t, Scores(), two_entries(t), method, options), {}};
  EXPECT_TRUE(t.terms_set().empty()) << name;
  out.state = t.state().clone();
  return out;
}

bool same(const Codebooks& a, const Codebooks& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& one) {
           const CodebookTensor& other = b.at(one.first);
           return one.second.indices == other.indices && one.second.entries == other.entries;
         });
}

TEST(Combination, WhatCannotBeCombinedIsNamed) {
  const auto error = [](const std::string& name) { return error_of([&] { method_row(name); }); };
  EXPECT_EQ(error("r2+lsq+kd"), "no error");
  EXPECT_EQ(error("lnq+lc+dkm"), "no error");
  EXPECT_EQ(error("r2+dc"), "--method: 'r2+dc': dc does not train, so r2 cannot go with it");
  EXPECT_EQ(error("lc+lnq"),
            "--method: 'lc+lnq': lnq works on a trained network, it can only be the first");
  EXPECT_EQ(error("dc+lnq"),
            "--method: 'dc+lnq': lnq works on a trained network, it can only be the first");
  EXPECT_EQ(error("kd"), "--method: 'kd': kd stands beside a method, as in kd+dkm");
  EXPECT_EQ(error("lc+lc"), "--method: 'lc+lc' has 'lc' twice");
  EXPECT_EQ(error("lc+"), "--method: 'lc+' has nothing on one side of a '+'");
  EXPECT_TRUE(error("lc+dkn").starts_with("--method: 'dkn' is unknown; did you mean 'dkm'?"));
}

TEST(Combination, BeginsAtTheCodebooksOfTheFirst) {
  const Settings settings = short_runs();
  nn::Trainer t = test::reference();
  const CompressionPlan plan = two_entries(t);
  const Scores data;
  const Codebooks first = compressed(t, plan, method_row("lnq").after_training(settings, 1), &data);
  for (const char* name : {"lnq+dkm", "lnq+lsq", "lnq+mocq", "lnq+qar", "lnq+lc", "lnq+ste"}) {
    SCOPED_TRACE(name);
    nn::Trainer trained = test::reference();
    const auto method = method_row(name).training(settings);
    const CStepReport begun = method->begin(trained, plan, data);
    for (const auto& [weight, codebook] : first) {
      EXPECT_TRUE(
          equal_bits(trained.state().get(weight), decoded_state(t.state(), first).get(weight)));
    }
    EXPECT_LT(begun.distance, 1e-6);
  }
}

TEST(Combination, MethodsFollowEachOther) {
  const Settings settings = short_runs();
  const MethodRow& row = method_row("lc+dkm");
  const auto lc = method_row("lc").training(settings), dkm = method_row("dkm").training(settings),
             both = row.training(settings);
  EXPECT_EQ(both->epochs(), 4);
  EXPECT_EQ(both->learning_rate(1.5), lc->learning_rate(1.5));
  EXPECT_EQ(both->learning_rate(2), dkm->learning_rate(0));
  EXPECT_EQ(both->learning_rate(3.5), dkm->learning_rate(1.5));
  const Done done = run("lc+dkm", settings);
  ASSERT_TRUE(done.result.finished);
  std::int64_t step = 0;
  for (const CStepReport& report : done.result.c_steps) EXPECT_EQ(report.step, step++);
  EXPECT_FALSE(same(done.result.codebooks, run("lc", settings).result.codebooks));
  EXPECT_FALSE(same(done.result.codebooks, run("dkm", settings).result.codebooks));
}

TEST(Combination, ALaterMethodBeginsAtTheCodebooksOfTheOneBefore) {
  Settings settings = short_runs();
  settings.set("train-lr", 1e-12);  // stays there
  const CompressResult lc = run("lc", settings).result, both = run("lc+dkm", settings).result;
  EXPECT_GT(lc.c_steps.back().distance, 1e-3);
  EXPECT_LT(both.c_steps.back().distance, 1e-4);
  for (const auto& [weight, codebook] : lc.codebooks)
    EXPECT_EQ(both.codebooks.at(weight).indices, codebook.indices);
}

TEST(Combination, EpochsAreSharedEvenly) {
  const auto epochs = [](const std::string& name, std::int64_t all) {
    Settings s = short_runs();
    method_row(name).rescale(s, all);
    return method_row(name).make(s).epochs();
  };
  for (const std::int64_t all : {2, 3, 30, 31}) EXPECT_EQ(epochs("lc+dkm+kd", all), all);
  EXPECT_EQ(epochs("lnq+dkm", 7), 7);
  EXPECT_EQ(epochs("lsq+dkm", 8), 8);
  EXPECT_EQ(error_of([&] { epochs("lsq+dkm", 7); }),
            "--epochs 7: lsq+dkm shares them by one --train-epochs; a multiple of 2 would do");
  EXPECT_EQ(error_of([&] { epochs("lc+dkm", 1); }),
            "--epochs 1: lc+dkm needs one for each method, 2");
}

TEST(Combination, DistillsFromTheNetworkAtTheStart) {
  const Settings settings = short_runs();
  const nn::Trainer reference = test::reference();
  for (const char* name : {"kd+dkm", "lnq+lsq+kd", "mocq+kd", "lc+kd"}) {
    SCOPED_TRACE(name);
    const Done done = run(name, settings);
    EXPECT_TRUE(
        equal_bits(done.state.get("teacher.fc1.weight"), reference.state().get("fc1.weight")));
    EXPECT_FALSE(done.state.has("distill.memory"));
    Settings none = settings;
    none.set("kd-weight", 0.0);
    EXPECT_FALSE(same(done.result.codebooks, run(name, none).result.codebooks));
  }
  EXPECT_EQ(method_row("mocq+kd").config(settings).at("mocq.distill"), "none");
}

TEST(Combination, RestrictsRanges) {
  Settings settings = short_runs();
  settings.set("r2-weight", 1.0);
  const auto largest = [&](const std::string& name) {
    const State state = run(name, settings).state;
    float most = 0;
    for (const float w : state.get("fc1.weight").span<float>()) most = std::max(most, std::abs(w));
    return most;
  };
  EXPECT_LT(largest("r2+ste"), 0.9f * largest("ste"));
}

// Interrupted in either method, and between them, a run ends with the same bits.
TEST(Combination, GoesOnWhereItStopped) {
  struct Stopping final : nn::Observer {
    int left;
    explicit Stopping(int n) : left(n) {}
    void on_step(const nn::StepReport&) override {
      if (--left == 0) set_interrupted(true);
    }
  };
  const Settings settings = short_runs();
  for (const char* name : {"r2+lc+dkm+kd", "lnq+lsq+qar"}) {
    const Done whole = run(name, settings);
    const auto steps = static_cast<int>(Scores().samples() / 50);
    for (const int at : {steps + 1, 2 * steps, 2 * steps + 1, 3 * steps}) {
      SCOPED_TRACE(cat(name, " ", at));
      const datasets::TempDir folder;
      Stopping stopping(at);
      CompressOptions options;
      options.checkpoint = folder.path() / "c";
      options.observer = &stopping;
      EXPECT_FALSE(run(name, settings, options).result.finished);
      set_interrupted(false);
      options.observer = nullptr;
      options.resume = true;
      const Done resumed = run(name, settings, options);
      EXPECT_TRUE(resumed.result.finished);
      EXPECT_TRUE(same(resumed.result.codebooks, whole.result.codebooks));
      EXPECT_EQ(resumed.result.c_steps.back().step, whole.result.c_steps.back().step);
    }
  }
}

}  // namespace
}  // namespace tessera::quant
