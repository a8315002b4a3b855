// Bit allocation against every assignment there is, and sensitivities against their definition.
#include "quant/plan/allocate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

#include "core/rng.h"
#include "nn/classification.h"
#include "nn/schedule.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/plan/sensitivity.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::error_of;
using test::Scores;

// 4 tensors of 1 to 3 bits; costs fall with bits, but not always convexly.
std::vector<CandidateTensor> random_case(std::uint64_t seed) {
  Rng rng(seed, 1);
  std::vector<CandidateTensor> out;
  for (int t = 0; t < 4; ++t) {
    CandidateTensor tensor{cat("w", t), 8 * static_cast<std::int64_t>(1 + rng.below(200)), {}};
    double cost = rng.uniform(0, 4);
    for (int bits = 1; bits <= 3; ++bits) {
      Candidate c;
      c.bits = bits;
      c.choice = {CodebookSpec::adaptive(1 << bits), 0};
      c.bytes = tensor.weights * bits / 8 + 4 * (1 << bits);
      c.cost = cost;
      cost *= rng.uniform(0.1f, 1.05f);  // sometimes more bits are worse
      tensor.candidates.push_back(c);
    }
    out.push_back(std::move(tensor));
  }
  return out;
}

double best_cost(const std::vector<CandidateTensor>& tensors, std::int64_t budget) {
  double best = std::numeric_limits<double>::infinity();
  for (int code = 0; code < 81; ++code) {
    std::int64_t bytes = 0;
    double cost = 0;
    for (int t = 0, rest = code; t < 4; ++t, rest /= 3) {
      const Candidate& c =
          tensors[static_cast<std::size_t>(t)].candidates[static_cast<std::size_t>(rest % 3)];
      bytes += c.bytes;
      cost += c.cost;
    }
    if (bytes <= budget) best = std::min(best, cost);
  }
  return best;
}

double largest_gain(const std::vector<CandidateTensor>& tensors) {
  double out = 0;
  for (const auto& t : tensors) {
    for (const auto& a : t.candidates) {
      for (const auto& b : t.candidates) out = std::max(out, a.cost - b.cost);
    }
  }
  return out;
}

void expect_consistent(const std::vector<CandidateTensor>& tensors, const Allocation& a) {
  std::int64_t bytes = 0;
  double cost = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    bytes += tensors[t].candidates[a.chosen[t]].bytes;
    cost += tensors[t].candidates[a.chosen[t]].cost;
  }
  EXPECT_EQ(a.bytes, bytes);
  EXPECT_NEAR(a.cost, cost, 1e-9);
}

TEST(Allocate, AgainstEveryAssignment) {
  int exact = 0, cases = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const auto tensors = random_case(seed);
    const auto corners = pareto(tensors);
    // At the corners of the hull it is the optimum.
    for (const Allocation& corner : corners) {
      expect_consistent(tensors, corner);
      const Allocation a = allocate(tensors, corner.bytes);
      EXPECT_NEAR(a.cost, best_cost(tensors, corner.bytes), 1e-9) << seed;
      EXPECT_NEAR(a.cost, corner.cost, 1e-9) << seed;
      EXPECT_NEAR(a.least_cost, a.cost, 1e-9) << seed;
    }
    // Elsewhere it fits, its bound holds, and it is off by less than one step of one tensor.
    const std::int64_t from = corners.front().bytes, to = corners.back().bytes + 300;
    for (std::int64_t budget = from; budget <= to; budget += 1 + (to - from) / 37) {
      const Allocation a = allocate(tensors, budget);
      expect_consistent(tensors, a);
      EXPECT_LE(a.bytes, budget);
      const double best = best_cost(tensors, budget);
      EXPECT_LE(a.least_cost, best + 1e-9) << seed << " " << budget;
      EXPECT_GE(a.cost, best - 1e-9) << seed << " " << budget;
      EXPECT_LE(a.cost - best, largest_gain(tensors) + 1e-9) << seed << " " << budget;
      exact += a.cost < best + 1e-9;
      ++cases;
    }
  }
  EXPECT_GT(exact, cases * 7 / 10) << cases;  // the greedy fill is mostly optimal, too
}

TEST(Allocate, ParetoPointsFallInCostAndSlope) {
  const auto corners = pareto(random_case(7));
  ASSERT_GT(corners.size(), 3u);
  double slope = std::numeric_limits<double>::infinity();
  for (std::size_t i = 1; i < corners.size(); ++i) {
    const auto bytes = static_cast<double>(corners[i].bytes - corners[i - 1].bytes);
    const double gain = corners[i - 1].cost - corners[i].cost;
    EXPECT_GT(bytes, 0);
    EXPECT_GT(gain, 0);
    EXPECT_LE(gain / bytes, slope * (1 + 1e-9));
    slope = gain / bytes;
  }
}

TEST(Allocate, RefusesWhatCannotWork) {
  auto tensors = random_case(3);
  const std::int64_t least = pareto(tensors).front().bytes;
  EXPECT_NO_THROW(allocate(tensors, least));
  EXPECT_NE(error_of([&] {
              allocate(tensors, least - 1);
            }).find(cat("are too few; the smallest codebooks take ", least)),
            std::string::npos);
  EXPECT_THROW(allocate({}, 100), Error);
  tensors[2].candidates[1].cost = std::nan("");
  EXPECT_EQ(error_of([&] { allocate(tensors, 1 << 20); }),
            "bit allocation: the cost of 'w2' at 2 bits is nan");
  tensors[1].candidates.clear();
  EXPECT_EQ(error_of([&] { allocate(tensors, 1 << 20); }),
            "bit allocation: 'w1' has no candidates");
}

nn::Trainer trained() {
  auto net = std::make_shared<nn::Sequential>();
  net->add("fc1", nn::Linear(20, 12)).add("act", nn::Tanh()).add("fc2", nn::Linear(12, 4));
  nn::Trainer trainer = nn::classifier(net, {20}, 4, {.batch = 50});
  nn::Position position;
  for (int epoch = 0; epoch < 20; ++epoch)
    trainer.train_epoch(Scores(), position, nn::constant(0.05));
  return trainer;
}

TEST(Sensitivity, CandidatesAreWhatFits) {
  const nn::Trainer t = trained();
  Policy policy{{CodebookSpec::adaptive(256), 0}, {}};
  auto found = candidates(t.parameters(), t.state(), policy);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].weights, 240);
  ASSERT_EQ(found[0].candidates.size(), 7u);  // 240 weights take up to 128 entries
  ASSERT_EQ(found[1].candidates.size(), 5u);  // 48 weights
  EXPECT_EQ(found[0].candidates[2].bytes, 240 * 3 / 8 + 8 * 4);
  policy.weights.group_rows = 2;  // 40 and 24 weights a group
  policy.rules = {{"fc2.weight", TensorChoice{CodebookSpec::scaled_ternary(), 0}}};
  found = candidates(t.parameters(), t.state(), policy);
  EXPECT_EQ(found[0].candidates.size(), 5u);
  EXPECT_EQ(found[0].candidates[0].bytes, 240 / 8 + 6 * 2 * 4);
  ASSERT_EQ(found[1].candidates.size(), 1u);  // as the rule says
  EXPECT_EQ(found[1].candidates[0].bytes, 48 * 2 / 8 + 3 * 4);
}

TEST(Sensitivity, DepthwiseGroupsGrowWithTheCodebook) {
  EXPECT_EQ(depthwise_group_rows({64, 1, 3, 3}, 2), 1);
  EXPECT_EQ(depthwise_group_rows({64, 1, 3, 3}, 16), 4);
  EXPECT_EQ(depthwise_group_rows({64, 1, 3, 3}, 256), 57);
  EXPECT_EQ(depthwise_group_rows({32, 1, 3, 3}, 256), 0);
}

TEST(Sensitivity, IsTheRiseOfTheLossAndFisherPredictsIt) {
  const nn::Trainer t = trained();
  const CalibrationSet samples(Scores(), 600);
  const Graph graph = nn::inference_graph(t);
  auto loss = candidates(t.parameters(), t.state(), {}), fisher = loss;
  const double dense = measure_costs(loss, graph, t.task(), t.state(), samples, Sensitivity::loss);
  EXPECT_EQ(measure_costs(fisher, graph, t.task(), t.state(), samples, Sensitivity::fisher), dense);
  // One of them by hand: fc2 at 2 bits, everything else as it is.
  const Candidate& c = loss[1].candidates[1];
  State state = decoded_state(
      t.state(), {{"fc2.weight", fit_tensor("fc2.weight", c.choice.spec, {4, 12}, 0,
                                            t.state().get("fc2.weight").span<float>())}});
  nn::Evaluator evaluate(clone(graph), t.task());
  EXPECT_NEAR(c.cost, evaluate(state, Scores()).loss() - dense, 1e-9);
  EXPECT_GT(c.cost, 0);
  for (std::size_t i = 0; i < loss.size(); ++i) {
    const auto &a = loss[i].candidates, &b = fisher[i].candidates;
    EXPECT_GT(a.front().cost, a.back().cost);
    for (std::size_t j = 1; j < b.size(); ++j) EXPECT_LT(b[j].cost, b[j - 1].cost);
    // A second-order estimate: right in size where the change is small.
    EXPECT_GT(b[2].cost, 0.1 * a[2].cost);
    EXPECT_LT(b[2].cost, 10 * a[2].cost);
  }
}

TEST(Sensitivity, AllocationBeatsTheSameBitsForAll) {
  nn::Trainer t = trained();
  const Scores data;
  const Graph graph = nn::inference_graph(t);
  auto tensors = candidates(t.parameters(), t.state(), {});
  measure_costs(tensors, graph, t.task(), t.state(), CalibrationSet(data, 600), Sensitivity::loss);
  const std::int64_t uniform = tensors[0].candidates[2].bytes + tensors[1].candidates[2].bytes;
  const Allocation a = allocate(tensors, uniform);
  Policy policy;
  policy.rules = rules(tensors, a);
  EXPECT_TRUE(std::regex_match("fc1.weight", std::regex(policy.rules[0].pattern)));
  EXPECT_FALSE(std::regex_match("fc1xweight", std::regex(policy.rules[0].pattern)));
  const auto loss = [&](const Policy& p) {
    const PostTraining dc = direct_compression();
    const auto result = compress(t, data, plan_compression(t.parameters(), t.state(), p), dc);
    Model model = harden(t, result.codebooks);
    const SizeReport size = size_report(model);
    std::int64_t coded = 0;
    for (const auto& item : size.tensors) coded += item.index_bytes + item.codebook_bytes;
    EXPECT_LE(coded, uniform);
    if (!p.rules.empty()) {
      EXPECT_EQ(coded, a.bytes);
      EXPECT_NEAR(size.bits_per_weight(), a.bits_per_weight(tensors), 1e-9);
    }
    nn::Evaluator evaluate(clone(model.graph), t.task());
    return evaluate(model.state, data).loss();
  };
  EXPECT_LE(loss(policy), loss({{CodebookSpec::adaptive(8), 0}, {}}));
  EXPECT_NE(text(tensors, a).find("fc2.weight"), std::string::npos);
}

}  // namespace
}  // namespace tessera::quant
