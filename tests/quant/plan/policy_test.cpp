// Plans for weights of any rank: presets, rules over them, groups of rows.
#include "quant/plan/policy.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace tessera::quant {
namespace {

// The shapes of a small convolutional network with a depthwise layer.
struct Net {
  std::vector<nn::ParameterSpec> parameters;
  State state;

  Net() {
    add("conv1.weight", {32, 3, 3, 3});
    add("bn1.weight", {32});
    add("bn1.bias", {32});
    add("dw.weight", {32, 1, 3, 3});
    add("pw.weight", {64, 32, 1, 1});
    add("fc.weight", {10, 64});
    add("fc.bias", {10});
  }
  void add(const std::string& name, const Shape& shape) {
    parameters.push_back({name, {DType::f32, shape, {}}, nn::Init::normal(1)});
    state.set(name, nn::Init::normal(1)(shape, 1, name));
  }
  CompressionPlan plan(const Policy& policy) const {
    return plan_compression(parameters, state, policy);
  }
};

Policy policy(int k, std::int64_t group_rows, std::initializer_list<std::string_view> presets) {
  Policy out{{CodebookSpec::adaptive(k), group_rows}};
  for (const auto preset : presets) out.use(preset);
  return out;
}

// "K/ROWS" for each tensor, "-" where it stays dense.
std::vector<std::string> choices(const CompressionPlan& plan) {
  std::vector<std::string> out;
  for (const auto& t : plan.tensors) {
    out.push_back(t.choice ? cat(t.choice->spec.size(), "/", t.choice->group_rows) : "-");
  }
  return out;
}

using Texts = std::vector<std::string>;

TEST(Policy, AllCodesEveryWeightOfAnyRank) {
  EXPECT_EQ(choices(Net().plan(policy(4, 0, {"all"}))),
            (Texts{"4/0", "-", "-", "4/0", "4/0", "4/0", "-"}));
}

TEST(Policy, GroupsAsLargeAsTheTensorAreOne) {
  EXPECT_EQ(choices(Net().plan(policy(4, 16, {}))),
            (Texts{"4/16", "-", "-", "4/16", "4/16", "4/0", "-"}));
}

TEST(Policy, FirstAndLastGet8Bits) {
  const auto plan = Net().plan(policy(4, 8, {"first-last-8"}));
  EXPECT_EQ(choices(plan), (Texts{"256/0", "-", "-", "4/8", "4/8", "256/0", "-"}));
  EXPECT_EQ(plan.tensors[0].reason, "first layer");
  EXPECT_EQ(plan.tensors[5].reason, "last layer");

  Net tiny;  // a first layer of 150 weights, as LeNet-5's
  tiny.parameters[0].type.shape = {6, 1, 5, 5};
  tiny.state.set("conv1.weight", nn::Init::normal(1)({6, 1, 5, 5}, 1, "w"));
  const auto dense = tiny.plan(policy(4, 0, {"first-last-8", "depthwise-per-channel"}));
  EXPECT_EQ(choices(dense)[0], "-");
  EXPECT_NE(dense.text().find("dense: first layer, too small"), std::string::npos) << dense.text();
  // One input channel does not make a first layer depthwise.
  EXPECT_EQ(choices(tiny.plan(policy(4, 0, {"depthwise-per-channel"})))[0], "4/0");
}

TEST(Policy, DepthwiseGroupsHoldTwoWeightsAnEntry) {
  EXPECT_EQ(choices(Net().plan(policy(4, 0, {"depthwise-per-channel"})))[3], "4/1");
  EXPECT_EQ(choices(Net().plan(policy(16, 0, {"depthwise-per-channel"})))[3], "16/4");
  EXPECT_EQ(choices(Net().plan(policy(256, 0, {"depthwise-per-channel"})))[3], "256/0");
}

TEST(Policy, RulesWinOverPresets) {
  Policy p = policy(4, 0, {"first-last-8", "depthwise-per-channel"});
  p.rules.push_back({"conv1.*", std::nullopt});
  p.rules.push_back({"dw.*", TensorChoice{CodebookSpec::adaptive(2), 3}});
  const auto plan = Net().plan(p);
  EXPECT_EQ(choices(plan), (Texts{"-", "-", "-", "2/3", "4/0", "256/0", "-"}));
  EXPECT_NE(plan.text().find("one codebook per 3 rows (rule 'dw.*')"), std::string::npos)
      << plan.text();
}

TEST(Policy, StagesAreTheirConvolutionsAlone) {
  Net net;
  net.add("layer1.0.conv1.weight", {32, 32, 3, 3});
  net.add("layer1.0.bn1.weight", {32});
  net.add("layer2.0.conv2.weight", {64, 64, 3, 3});
  net.add("layer2.0.downsample.0.weight", {64, 32, 1, 1});
  net.add("linear.weight", {10, 64});
  const auto plan = net.plan(policy(4, 0, {"stages"}));
  EXPECT_EQ(plan.compressed(), (Texts{"layer1.0.conv1.weight", "layer2.0.conv2.weight"}));
  EXPECT_NE(plan.tensors[0].reason.find("not of '"), std::string::npos) << plan.tensors[0].reason;
  // A rule says otherwise for one of the others.
  Policy more = policy(4, 0, {"stages"});
  more.rules.push_back({"linear.weight", TensorChoice{CodebookSpec::adaptive(16), 0}});
  EXPECT_EQ(net.plan(more).compressed().back(), "linear.weight");
  EXPECT_THROW(Net().plan(policy(4, 0, {"stages"})), Error);
}

TEST(Policy, RecurrentMatricesAlone) {
  Net net;
  net.add("embedding.weight", {50, 32});
  net.add("lstm.0.weight_ih", {128, 32});
  net.add("lstm.0.weight_hh", {128, 32});
  net.add("lstm.0.gain_hh", {128});
  net.add("softmax.weight", {50, 32});
  EXPECT_EQ(net.plan(policy(4, 0, {"recurrent"})).compressed(),
            (Texts{"lstm.0.weight_ih", "lstm.0.weight_hh"}));
}

std::string error_of(const Policy& policy) {
  try {
    Net().plan(policy);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Policy, UnknownPreset) {
  EXPECT_THROW(policy(4, 0, {"some"}), Error);
}

// fc.weight has 640 elements, dw.weight 288.
TEST(Policy, SmallWeightsStayDenseUnlessARuleNamesThem) {
  Policy p = policy(4, 0, {"first-last-8"});
  p.min_size = 640;
  const auto plan = Net().plan(p);
  EXPECT_EQ(choices(plan), (Texts{"256/0", "-", "-", "-", "4/0", "256/0", "-"}));
  EXPECT_NE(plan.text().find("dense: 288 weights, fewer than the least size to compress, 640"),
            std::string::npos)
      << plan.text();
  p.min_size = 641;
  EXPECT_EQ(choices(Net().plan(p))[5], "-");
  p.rules.push_back({"fc.*", TensorChoice{CodebookSpec::adaptive(2)}});
  EXPECT_EQ(choices(Net().plan(p)), (Texts{"256/0", "-", "-", "-", "4/0", "2/0", "-"}));
}

TEST(Policy, CodebooksOfARuleAreForWeights) {
  Policy p = policy(4, 0, {});
  p.rules.push_back({"fc.*", TensorChoice{CodebookSpec::adaptive(2)}});
  const auto plan = Net().plan(p);
  EXPECT_EQ(choices(plan), (Texts{"4/0", "-", "-", "4/0", "4/0", "2/0", "-"}));
  EXPECT_EQ(plan.tensors[6].reason, "bias or scale, kept f32");
  p.rules = {{"fc.bias", TensorChoice{CodebookSpec::adaptive(2)}}};
  EXPECT_EQ(error_of(p),
            "policy rule 'fc.bias' matches vectors only (biases, scales); codebooks are for "
            "weights of rank 2 or more");
  p.rules = {{"fc.bias", std::nullopt}};  // skipping what stays dense anyway is no mistake
  EXPECT_EQ(error_of(p), "no error");
}

TEST(Policy, LaterRulesMayBeCovered) {
  Policy p = policy(4, 0, {});
  p.rules.push_back({"fc.weight", TensorChoice{CodebookSpec::adaptive(2)}});
  p.rules.push_back({"fc.*", std::nullopt});
  EXPECT_EQ(choices(Net().plan(p))[5], "2/0");
}

TEST(Policy, RulesFromAFileAreNamedByTheirPlace) {
  Policy p = policy(4, 0, {});
  p.rules.push_back({"none.*", std::nullopt, "rules.txt:7"});
  EXPECT_EQ(error_of(p), "rules.txt:7: rule 'none.*' matches no parameter");
  p.rules = {{"(", std::nullopt, "rules.txt:8"}};
  EXPECT_EQ(error_of(p).substr(0, 50), "rules.txt:8: rule '(' is not a regular expression:");
}

// Nobody asked for a codebook of these in particular: a network has small tensors.
TEST(Policy, FewerWeightsThanEntriesStayDense) {
  Net net;
  net.add("few.weight", {4, 8});
  Policy p{{CodebookSpec::adaptive(33), 0}, {}};
  EXPECT_EQ(net.plan(p).find("few.weight"), nullptr);
  EXPECT_EQ(net.plan(p).compressed().size(), 4u);
  EXPECT_NE(net.plan(p).text().find("dense: 32 weights, too few for 33 entries"), std::string::npos)
      << net.plan(p).text();
  p.weights.spec = CodebookSpec::adaptive(32);
  EXPECT_NE(net.plan(p).find("few.weight"), nullptr);
}

}  // namespace
}  // namespace tessera::quant
