#include "core/files/import.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/files/atomic_file.h"
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

// Gates in another order: parts of the first axis, after a transposition.
TEST_F(Import, PartsOfAnAxis) {
  const ImportReport report =
      import({{"w", turned}, {"b", bias}},
             {.rules = {"w=fc1.weight:t:parts(2,0,1)", "b=fc1.bias:parts(1,2,0)"}});
  EXPECT_TRUE(equal_bits(state.get("fc1.weight"), Tensor::from<float>({5, 6, 1, 2, 3, 4}, {3, 2})));
  EXPECT_TRUE(equal_bits(state.get("fc1.bias"), Tensor::from<float>({8, 9, 7}, {3})));
  EXPECT_NE(report.text().find("fc1.weight: from w f32[2,3], transposed, parts 2,0,1"),
            std::string::npos)
      << report.text();
  EXPECT_NE(
      message_of({{"w", turned}, {"fc1.bias", bias}}, {.rules = {"w=fc1.weight:t:parts(1,0)"}})
          .find("the first axis of f32[2,3] transposed has no 2 equal parts"),
      std::string::npos);
  for (const char* bad : {"w=a:parts()", "w=a:parts(0)", "w=a:parts(0,2)", "w=a:parts(0,0)",
                          "w=a:parts(1,-1)", "w=a:parts(0,1,)"}) {
    EXPECT_NE(
        message_of({{"w", weight}}, {.rules = {bad}}).find("expected parts(...) with each of 0"),
        std::string::npos)
        << bad;
  }
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

TEST_F(Import, CountersOfBatchNormAreLeftOut) {
  const Tensor count = Tensor::from<std::int64_t>({12}, {});
  const ImportReport report = import(
      {{"net.fc1.weight", weight}, {"net.fc1.bias", bias}, {"net.bn.num_batches_tracked", count}},
      {.rules = {"/net\\.(.*)/=$1"}});
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.counters, std::vector<std::string>{"net.bn.num_batches_tracked"});
  EXPECT_NE(report.text().find("left out: 1 counters of PyTorch's batch norms"), std::string::npos);
  // Only a single number under that name, without a place here.
  EXPECT_NE(
      message_of({{"fc1.weight", weight}, {"fc1.bias", bias}, {"num_batches_tracked", bias}}, {}),
      "no error");
  EXPECT_NE(
      message_of({{"fc1.weight", weight}, {"fc1.bias", bias}, {"batches_tracked", count}}, {}),
      "no error");
  state.set("num_batches_tracked", Tensor::from<std::int64_t>({0}, {}));
  import({{"fc1.weight", weight}, {"fc1.bias", bias}, { "num_batches_tracked", count }}, {});
  EXPECT_TRUE(equal_bits(state.get("num_batches_tracked"), count));
}

// What the reader says of a file with this content.
std::string refusal(const TempFolder& folder, const std::string& name, const std::string& bytes) {
  write_file(folder / name, bytes);
  try {
    read_weights(folder / name);
  } catch (const Error& error) {
    return std::string(error.what()).substr((folder / name).string().size());
  }
  return "no error";
}

TEST_F(Import, FilesOfPyTorchSayHowToConvertThem) {
  const std::string stored("PK\3\4\x14\0\0\0\0\0\0\0\0\0\0\0\0\0", 18);
  const std::string header = stored + std::string("\0\0\0\0\0\0\0\0\x0c\0\0\0", 12);
  const std::string zip = refusal(folder, "net.pt", header + "net/data.pkl" + "\x80\2}q\0.");
  EXPECT_EQ(zip,
            ": a file of torch.save holds a pickle, and pickles, which can run code, are not read; "
            "convert it by python3 -c \"import torch, numpy; numpy.savez('net.npz', **{k: "
            "v.float().numpy() for k, v in torch.load('net.pt', map_location='cpu', "
            "weights_only=True).items()})\" (a checkpoint with more than weights: "
            "torch.load(...)['state_dict'].items())");
  EXPECT_EQ(zip.find('\n'), std::string::npos);
  const std::string torch("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  EXPECT_EQ(refusal(folder, "net.pth", torch).substr(0, 23), ": a file of torch.save ");
  const std::string pickle("\x80\4}\x94.", 5);
  EXPECT_NE(refusal(folder, "net.pkl", pickle).find("pickle.load(open('net.pkl'"),
            std::string::npos);
  EXPECT_NE(refusal(folder, "net.h5", "\x89HDF\r\n\x1a\n....").find("h5py.File('net.h5')"),
            std::string::npos);
  EXPECT_NE(refusal(folder, "net.npy", "\x93NUMPY......").find("one array without a name"),
            std::string::npos);
  EXPECT_NE(refusal(folder, "net.gguf", "GGUF........").find("GGUF is not read"),
            std::string::npos);
  EXPECT_NE(refusal(folder, "net.gz", "\x1f\x8b........").find("gunzip"), std::string::npos);
  // An archive of arrays is none of them, whatever is in it.
  const std::string npz = refusal(folder, "a.npz", header + "net/data.npy" + ".pkl");
  EXPECT_EQ(npz.find("pickle"), std::string::npos) << npz;
}

// A header of 0x0380 bytes begins like a pickle.
TEST_F(Import, SafetensorsAreNoPickles) {
  std::string header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
  header.resize(0x0380, ' ');
  const std::string bytes = std::string("\x80\3\0\0\0\0\0\0", 8) + header + std::string(4, '\0');
  EXPECT_EQ(refusal(folder, "a.safetensors", bytes), "no error");
}

TEST_F(Import, OptionsAreCheckedOnTheirOwn) {
  EXPECT_NO_THROW((ImportOptions{.rules = {"a=b"}, .ignored = {"x.*"}}).validate());
  EXPECT_THROW((ImportOptions{.rules = {"a"}}).validate(), Error);
  EXPECT_THROW((ImportOptions{.ignored = {"("}}).validate(), Error);
  EXPECT_THROW((ImportOptions{.optional = {"("}}).validate(), Error);
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
