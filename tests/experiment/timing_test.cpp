// Figures of times, and what they were measured on.
#include <gtest/gtest.h>

#include "core/parallel.h"
#include "core/version.h"
#include "datasets/random_samples.h"
#include "experiment/comparison.h"
#include "experiment/machine.h"
#include "report/comparison_tables.h"
#include "tests/experiment/evaluated.h"
#include "timing/full_batches.h"
#include "timing/latency.h"

namespace tessera::experiment {
namespace {

using Rounds = std::vector<std::vector<double>>;

TEST(Timing, IsTheFastestRoundAndFlagsTwoKindsOfRuns) {
  const Timing calm = timing_of({{4.4, 4.3, 4.2}, {4.5, 4.6, 4.5}, {4.4, 4.4, 9.9}});
  EXPECT_EQ(calm.least, 4.3);
  EXPECT_EQ(calm.median, 4.4);
  // One slow run of three is the slowest tenth of its round.
  EXPECT_EQ(calm.slow, 9.9);
  EXPECT_TRUE(calm.unstable());
  EXPECT_FALSE(timing_of({{4.4, 4.3, 4.2}, {4.5, 4.6, 4.5}}).unstable());
  // Rounds that differ, and runs of one round that do.
  const Timing phases = timing_of(Rounds{{4.3, 4.3}, {41, 41}, {40, 40}});
  EXPECT_EQ(phases.least, 4.3);
  EXPECT_EQ(phases.median, 40);
  EXPECT_TRUE(phases.unstable());
  EXPECT_TRUE(timing_of({{4, 4, 4, 4, 4, 4, 4, 41, 41, 41}}).unstable());
  std::vector<double> one_in_a_thousand(1000, 4);
  one_in_a_thousand[500] = 4000;  // the scheduler's
  EXPECT_FALSE(timing_of({one_in_a_thousand}).unstable());
}

// A rank of several asks for its part of a batch.
TEST(FullBatches, GiveEachRankItsRows) {
  const auto source = std::make_shared<datasets::RandomSamples>(
      "random", std::vector<Field>{{"x", DType::f32, {3}}}, 10);
  const FullBatches batches(source, 4, 5);
  const auto rows = [](const BatchSource& data, std::int64_t first) {
    TensorMap two = batch_of(data.fields(), 2);
    data.fill(0, first, two);
    return two.at("x").to_vector<float>();
  };
  EXPECT_EQ(rows(batches, 6), rows(*source, 6));
  EXPECT_EQ(rows(batches, 8), rows(*source, 0));  // two batches are whole
  EXPECT_EQ(rows(batches, 10), rows(*source, 2));
}

TEST(Timing, SeedsAreMoreRounds) {
  const Timing both = together({{4.3, 4.4, 4.5}, {4.2, 40, 41}});
  EXPECT_EQ(both.least, 4.2);
  EXPECT_EQ(both.slow, 41);
  EXPECT_TRUE(both.unstable());
  EXPECT_EQ(least_text(both, 1), "4.2~");
  EXPECT_EQ(least_text({4.3, 4.4, 4.5}, 1), "4.3");
}

Compression finished() {
  Compression out;
  out.variant = {"lc", "adaptive:2", 0, 0};
  out.file = "x.json";
  out.after.all = testing::evaluated(9, 10);
  out.dense_us = {8, 9, 10};
  out.packed_us = {4.3, 22.7, 40};
  out.tensors = {{"fc1.weight", "[300,784]", "cb1", 235200, 29400, 8, 4, 2, 1}};
  out.machine = Machine{"Abacus 9", 8, 2, "avx2", "1.2.3", "mnist compare"};
  return out;
}

TEST(ResultFile, KeepsTimesSizesAndTheMachine) {
  const Compression out = finished();
  const Compression in = Compression::parse(out.json(), "x");
  EXPECT_EQ(in.packed_us.least, 4.3);
  EXPECT_EQ(in.packed_us.median, 22.7);
  EXPECT_EQ(in.packed_us.slow, 40);
  EXPECT_FALSE(in.dense_us.unstable());
  EXPECT_EQ(in.json(), out.json());
  EXPECT_EQ(out.json()["packed_us"], 4.3);
  EXPECT_EQ(out.json()["packed_unstable"], true);
  EXPECT_EQ(in.tensors.at(0).bytes(), 29415);
  EXPECT_EQ(in.machine, out.machine);
}

TEST(ResultFile, OfAnOlderVersionIsRead) {
  Json old = finished().json();
  for (const char* field :
       {"packed_median_us", "packed_slow_us", "packed_unstable", "tensors", "environment"}) {
    old.erase(field);
  }
  const Compression in = Compression::parse(old, "x");
  EXPECT_EQ(in.packed_us.median, 4.3);
  EXPECT_FALSE(in.packed_us.unstable());
  EXPECT_FALSE(in.machine);
}

TEST(ComparisonTables, SayWhatTheyWereMeasuredOnAndMarkUnstableTimes) {
  std::vector<ComparedRun> runs;
  for (const std::int64_t seed : {1, 2}) {
    ComparedRun run;
    run.variant = {"lc", "adaptive:2", 0, 0};
    run.seed = seed;
    run.result = finished();
    if (seed == 2) run.result->packed_us = {5, 5, 5};
    runs.push_back(run);
  }
  std::ostringstream out;
  print_comparison(out, runs);
  const std::string text = out.str();
  EXPECT_NE(text.find("4.3~"), text.npos) << text;  // not the mean of both
  EXPECT_NE(text.find(kUnstableNote), text.npos);
  const std::string made =
      "Measured on Abacus 9, 2 threads of 8 cores, avx2, Tessera 1.2.3\n  by mnist compare\n";
  const std::size_t at = text.find(made);
  ASSERT_NE(at, text.npos) << text;
  EXPECT_EQ(text.find("Measured on", at + 1), text.npos);  // once
}

TEST(MachineOfThisProcess, IsWhole) {
  const Machine here = this_machine();
  EXPECT_FALSE(here.cpu.empty());
  EXPECT_GE(here.cores, 1);
  EXPECT_EQ(here.threads, num_threads());
  EXPECT_EQ(here.version, version());
  EXPECT_NE(here.command.find("test_experiment"), here.command.npos);
  EXPECT_EQ(Machine::parse(JsonAt(here.json(), "x")), here);
}

TEST(MachineOfThisProcess, CommandsCanBeGivenToAShell) {
  EXPECT_EQ(shell_line({"mnist", "--bits", "1,2", "--out", "a b", "--rule", "it's$x", ""}),
            "mnist --bits 1,2 --out 'a b' --rule 'it'\\''s$x' ''");
}

}  // namespace
}  // namespace tessera::experiment
