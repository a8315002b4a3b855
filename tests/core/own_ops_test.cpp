// Models with ops of the user's own: what others can read of them.
#include <gtest/gtest.h>

#include "core/files/model.h"
#include "ops/build.h"
#include "ops/load.h"
#include "ops/op_list.h"
#include "tests/core/sample_models.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

using testing::TempFolder;

std::vector<TensorType> same_type(const InferArgs& args) {
  return {args.in(0)};
}

const OpDef kTwice{.name = "test_twice",
                   .doc = "2 x",
                   .inputs = {{.name = "x"}},
                   .infer = same_type,
                   .decompose = [](const Node&, std::span<const Value> in) {
                     return std::vector<Value>{in[0] + in[0]};
                   }};
// Made of an op that is the user's too.
const OpDef kFourTimes{.name = "test_four_times",
                       .doc = "4 x",
                       .inputs = {{.name = "x"}},
                       .infer = same_type,
                       .decompose = [](const Node&, std::span<const Value> in) {
                         const Value twice = in[0].graph().add(kTwice, {in[0]}).output();
                         return std::vector<Value>{in[0].graph().add(kTwice, {twice}).output()};
                       }};
const OpDef kOpaque{.name = "test_opaque",
                    .doc = "x",
                    .inputs = {{.name = "x"}},
                    .infer = same_type,
                    .ref = [](const RefArgs& args) { args.out().v = args.in(0).v; }};
// A decomposition that never ends.
const OpDef kEndless{
    .name = "test_endless",
    .doc = "x",
    .inputs = {{.name = "x"}},
    .infer = same_type,
    .decompose = [](const Node& node, std::span<const Value> in) {
      return std::vector<Value>{in[0].graph().add(node.op(), {in[0] + 1.0}).output()};
    }};

OpSet& with_own_ops() {
  static OpSet set = [] {
    OpSet out = ops::standard_ops();
    for (const OpDef* op : {&kTwice, &kFourTimes, &kOpaque, &kEndless}) out.add(*op);
    return out;
  }();
  return set;
}

Model model_with(const OpDef& op) {
  Model model{Graph(with_own_ops()), {}, {}};
  const Value w = model.graph.param("w", f32({3}));
  model.state.set("w", Tensor::full({3}, 5));
  model.graph.set_output("y", model.graph.add(op, {w * 1.5}).output());
  return model;
}

using testing::error_of;

TEST(OwnOps, AreWrittenAsWhatTheyAreMadeOf) {
  const TempFolder folder("own");
  for (const auto& [op, expected] : {std::pair{&kTwice, 15.0f}, {&kFourTimes, 30.0f}}) {
    save(model_with(*op), folder / "m");
    const Model model = load(folder / "m.json");  // with the library's ops alone
    EXPECT_EQ(compile(model).run({}).at("y").span<float>()[2], expected) << op->name;
  }
}

TEST(OwnOps, WithoutADecompositionAreWrittenByNameForThoseWhoRegisterThem) {
  const TempFolder folder("own");
  save(model_with(kOpaque), folder / "m");
  EXPECT_NE(error_of([&] { load(folder / "m.json"); })
                .find("unknown op 'test_opaque'; an op of one's own is registered (OpSet::add) "
                      "before loading"),
            std::string::npos);
  EXPECT_EQ(&load(folder / "m.json", with_own_ops()).graph.output("y").node->op(), &kOpaque);
  EXPECT_NE(
      error_of([&] { save(model_with(kEndless), folder / "e"); }).find("decomposes into itself"),
      std::string::npos);
}

TEST(OwnOps, TheLibrarysStayAsTheyAre) {
  const OpSet& own = with_own_ops();
  EXPECT_FALSE(own.is_built_in(kTwice));
  EXPECT_FALSE(ops::standard_ops().is_built_in(kTwice));
  for (const OpDef* op : ops::standard_ops().all())
    EXPECT_TRUE(ops::standard_ops().is_built_in(*op)) << op->name;
}

}  // namespace
}  // namespace tessera
