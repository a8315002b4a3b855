#include "core/files/import.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/files/safetensors.h"
#include "tests/core/sample_models.h"

namespace tessera {
namespace {

using testing::TempFolder;

class Import : public ::testing::Test {
 protected:
  Import() {
    state.set("fc1.weight", Tensor::zeros(DType::f32, {3, 2}));
    state.set("fc1.bias", Tensor::zeros(DType::f32, {3}));
  }
  ImportReport import(const TensorMap& tensors, const ImportOptions& options) {
    write_safetensors(folder / "theirs.safetensors", tensors);
    return import_weights(folder / "theirs.safetensors", state, options);
  }
  std::string message_of(const TensorMap& tensors, const ImportOptions& options) {
    const State before = state.clone();
    try {
      import(tensors, options);
    } catch (const Error& error) {
      EXPECT_TRUE(equal_bits(state, before));
      std::string what = error.what();
      EXPECT_EQ(what.find('\n'), std::string::npos);
      const std::string file = (folder / "theirs.safetensors").string();
      if (const auto at = what.find(file); at == 0) what = what.substr(file.size());
      return what;
    }
    return "no error";
  }

  TempFolder folder{"import"};
  State state;
  const Tensor weight = Tensor::from<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  const Tensor turned = Tensor::from<float>({1, 3, 5, 2, 4, 6}, {2, 3});
  const Tensor bias = Tensor::from<float>({7, 8, 9}, {3});
};

TEST_F(Import, EqualNamesNeedNoRule) {
  const ImportReport report = import({{"fc1.weight", weight}, {"fc1.bias", bias}}, {});
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.matched.size(), 2u);
  EXPECT_TRUE(equal_bits(state.get("fc1.weight"), weight));
  EXPECT_TRUE(equal_bits(state.get("fc1.bias"), bias));
}

TEST_F(Import, Names) {
  const TensorMap theirs = {{"dense.kernel", turned}, {"dense.bias", bias}};
  const ImportReport report =
      import(theirs, {.rules = {"dense.kernel=fc1.weight:t", "dense.bias=fc1.bias"}});
  EXPECT_TRUE(report.complete());
  EXPECT_TRUE(equal_bits(state.get("fc1.weight"), weight));
  EXPECT_NE(report.text().find("fc1.weight: from dense.kernel f32[2,3], transposed"),
            std::string::npos)
      << report.text();
}

TEST_F(Import, Patterns) {
  import({{"net.1.w", weight},
          { "net.1.b",
            bias }},
         {.rules = {
           R"(/net\.(\d)\.w/=fc$1.weight)",
           R"(/net\.(\d)\.b/=fc$1.bias)"
         }});
  EXPECT_TRUE(equal_bits(state.get("fc1.weight"), weight));
  EXPECT_TRUE(equal_bits(state.get("fc1.bias"), bias));
}

TEST_F(Import, ConvertsFloats) {
  import({{"fc1.weight", weight.to(DType::bf16)}, { "fc1.bias", bias }}, {});
  EXPECT_TRUE(equal_bits(state.get("fc1.weight"), weight));
}

TEST_F(Import, ReportsWhatDoesNotFit) {
  const ImportReport report =
      import({{"fc1.weight", turned}, {"momentum", bias}}, {.rules = {}, .strict = false});
  EXPECT_EQ(report.missing, std::vector<std::string>{"fc1.bias"});
  EXPECT_EQ(report.unused, std::vector<std::string>{"momentum"});
  ASSERT_EQ(report.mismatched.size(), 1u);
  EXPECT_EQ(report.mismatched[0].cause,
            "expected f32[3,2], got f32[2,3]; a rule ending in :t transposes it");
  EXPECT_EQ(element(state.get("fc1.weight"), 0), 0);
}

TEST_F(Import, StrictThrows) {
  EXPECT_EQ(message_of({{"fc1.weight", weight}, {"momentum", bias}}, {}),
            ": 1 imported, 1 missing, 1 unused, 0 mismatched; missing: fc1.bias; unused: momentum");
  EXPECT_EQ(
      message_of({{"fc1.weight", Tensor(DType::s32, {3, 2})}, {"fc1.bias", bias}}, {}),
      ": 1 imported, 0 missing, 0 unused, 1 mismatched; mismatch: fc1.weight from fc1.weight: "
      "expected f32[3,2], got s32[3,2]");
  EXPECT_EQ(message_of({{"fc1.weight", weight}, {"b", bias}}, {.rules = {"b=fc1.bias:t"}}),
            ": 1 imported, 0 missing, 0 unused, 1 mismatched; mismatch: fc1.bias from b: only rank "
            "2 can be transposed, got f32[3]");
}

TEST_F(Import, Errors) {
  Tensor bad = bias.clone();
  bad.span<float>()[2] = std::nanf("");
  EXPECT_EQ(message_of({{"fc1.weight", weight}, {"fc1.bias", bad}}, {}),
            ": tensor 'fc1.bias': element 2 is NaN");
  EXPECT_EQ(message_of({{"a", bias}, {"b", bias}}, {.rules = {"/./=fc1.bias"}}),
            ": tensors 'a' and 'b' both become 'fc1.bias'");
  for (const std::string rule : {"", "=", "a=", "=b", "a=:t", "a", "//=b", "/a=b", "/a/b"}) {
    EXPECT_TRUE(message_of({}, {.rules = {rule}}).starts_with("import rule '" + rule + "': "))
        << rule << ": " << message_of({}, {.rules = {rule}});
  }
  EXPECT_TRUE(message_of({}, {.rules = {"/(/=b"}}).starts_with("import rule '/(/=b': "));
  EXPECT_THROW(import_weights(folder / "none.safetensors", state), Error);
}

}  // namespace
}  // namespace tessera
