// Models whose planes of indices are entropy-coded in the file: what is loaded is the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "core/files/atomic_file.h"
#include "core/files/graph_json.h"
#include "core/files/model.h"
#include "core/files/safetensors.h"
#include "core/graph_text.h"
#include "ops/load.h"
#include "tests/core/sample_models.h"
#include "tests/test_dir.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::TempFolder;

constexpr SaveOptions kCoded{.entropy_coded = true};

std::string message_of(const fs::path& path) {
  try {
    load(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// 5 of 8 values: 2.32 bits of 3.
Model model_of_five() {
  return testing::packed_mlp({120, 60, 10}, {.bits = 3}, 5);
}

TEST(CodedModel, LoadsTheSame) {
  const TempFolder folder("coded");
  const std::vector<std::pair<CodebookFormat, std::int64_t>> cases = {
      {{.bits = 2}, 3},
      {{.bits = 3}, 5},
      {{.bits = 3, .group_rows = 7, .scale_block = 16}, 5},
      {{.bits = 4, .entry_dtype = DType::f32, .vector_len = 2}, 11},
      {{.bits = 5, .group_rows = 30, .vector_len = 4}, 20},
      {{.bits = 6}, 40},
      {{.bits = 7}, 90},
      {{.bits = 8, .scale_block = CodebookFormat::kScalePerRow}, 100}};
  for (const auto& [format, k] : cases) {
    SCOPED_TRACE(Encoding::codebook(format).text());
    const Model model = testing::packed_mlp({400, 120, 8}, format, k);
    const SavedModel plain = save(model, folder / "plain"),
                     coded = save(model, folder / "coded", kCoded);
    EXPECT_TRUE(plain.coded.empty());
    ASSERT_TRUE(coded.coded.contains("fc1.weight.indices"));
    EXPECT_LT(coded.weights_bytes, plain.weights_bytes);
    EXPECT_LT(coded.coded.at("fc1.weight.indices"), model.state.get("fc1.weight.indices").bytes());
    EXPECT_EQ(coded_planes(coded.json, ops::standard_ops()), coded.coded);
    EXPECT_TRUE(coded_planes(plain.json, ops::standard_ops()).empty());
    const Model again = load(coded.json);
    EXPECT_TRUE(equal_bits(again.state, model.state));
    EXPECT_EQ(graph_text(again.graph), graph_text(model.graph));
    EXPECT_EQ(again.settings, model.settings);
    // And back: the plain files, byte for byte.
    const SavedModel back = save(again, folder / "back");
    EXPECT_EQ(read_file(back.weights), read_file(plain.weights));
  }
}

TEST(CodedModel, SameModelSameBytes) {
  const TempFolder a("coded_a"), b("coded_b");
  const SavedModel first = save(model_of_five(), a / "net", kCoded),
                   second = save(load(first.json), b / "net", kCoded);
  EXPECT_EQ(read_file(first.json), read_file(second.json));
  EXPECT_EQ(read_file(first.weights), read_file(second.weights));
}

TEST(CodedModel, WhatIsNotSmallerStaysPlain) {
  const TempFolder folder("coded_plain");
  // Both values equally often.
  const Model model = testing::packed_mlp({784, 300, 100}, {.bits = 1}, 2);
  const SavedModel plain = save(model, folder / "plain"),
                   coded = save(model, folder / "coded", kCoded);
  EXPECT_TRUE(coded.coded.empty());
  EXPECT_EQ(read_file(coded.weights), read_file(plain.weights));
  EXPECT_EQ(read_file(coded.json).find("coding"), std::string::npos);
  // Worth it for 2,700 bytes, not for 90.
  const SavedModel small =
      save(testing::packed_mlp({120, 60, 4}, {.bits = 3}, 5), folder / "small", kCoded);
  EXPECT_TRUE(small.coded.contains("fc1.weight.indices"));
  EXPECT_FALSE(small.coded.contains("fc2.weight.indices"));
  // A tensor of the graph already has the name.
  Model taken = model_of_five();
  taken.state.set("fc1.weight.indices.rans", Tensor::full({3}, 1));
  const Value extra = taken.graph.param("fc1.weight.indices.rans", f32({3}));
  taken.graph.set_output("extra", extra);
  const SavedModel saved = save(taken, folder / "taken", kCoded);
  EXPECT_FALSE(saved.coded.contains("fc1.weight.indices"));
  EXPECT_TRUE(equal_bits(load(saved.json).state, taken.state));
}

TEST(CodedModel, TheJsonNamesTheCoding) {
  const TempFolder folder("coded_json");
  const SavedModel saved = save(model_of_five(), folder / "net", kCoded);
  const std::string json = read_file(saved.json);
  const std::string field = "\"coding\":\"rans\",";
  const auto at = json.find("{" + field);
  ASSERT_NE(at, std::string::npos);
  std::string changed = json;
  changed.replace(at + 1, field.size(), "\"coding\":\"zip\",");
  write_file(saved.json, changed);
  EXPECT_EQ(message_of(saved.json),
            saved.json.string() + ": /weights/coding: expected 'rans', got 'zip'");
  changed = json;
  changed.erase(at + 1, field.size());
  write_file(saved.json, changed);
  EXPECT_EQ(message_of(saved.json).substr(0, saved.weights.string().size() + 38),
            saved.weights.string() + ": has no tensor 'fc1.weight.indices', ");
}

TEST(CodedModel, TrustsNoPlane) {
  const TempFolder folder("coded_damage");
  const Model model = model_of_five();
  const TensorMap tensors = read_safetensors(save(model, folder / "net", kCoded).weights).tensors;
  ASSERT_TRUE(tensors.contains("fc1.weight.indices.rans"));
  const fs::path json = folder / "m.json";
  const std::string weights = (folder / "w.safetensors").string();
  const auto message_with = [&](auto&& change) {
    TensorMap changed = tensors;
    change(changed);
    const SafetensorsImage image = make_safetensors(changed);
    image.write(weights);
    write_file(
        json, graph_to_json(model.graph, {}, WeightsFile{"w.safetensors", image.sha256(), "rans"}));
    return message_of(json);
  };
  const std::string place = weights + ": tensor 'fc1.weight.indices.rans': ";
  EXPECT_EQ(message_with([](TensorMap&) {}), "no error");
  EXPECT_EQ(message_with([&](TensorMap& t) {
              t["fc1.weight.indices"] = model.state.get("fc1.weight.indices");
            }),
            place + "'fc1.weight.indices' is there as well; expected one of the two");
  EXPECT_EQ(
      message_with([](TensorMap& t) { t["fc1.weight.indices.rans"] = Tensor(DType::s32, {90}); }),
      place + "expected U8 of rank 1, got I32[90]");
  EXPECT_EQ(
      message_with([](TensorMap& t) { t["fc1.weight.indices.rans"] = Tensor(DType::u8, {1}); }),
      place + "expected at least 2 bytes for a plane of 2700, got 1");
  EXPECT_EQ(
      message_with([](TensorMap& t) { t["fc1.weight.indices.rans"] = Tensor(DType::u8, {90}); }),
      place + "expected rANS version 1, got 0");
  EXPECT_EQ(message_with([](TensorMap& t) {
              t["fc1.weight.indices.rans"] = t["fc1.weight.indices.rans"].clone();
              t["fc1.weight.indices.rans"].span<std::uint8_t>()[4] = 0x21;
            }),
            place + "expected 7200 indices, got 7201");
  // Only planes of indices may be coded.
  EXPECT_EQ(message_with([](TensorMap& t) {
              t["fc1.bias.rans"] = t["fc1.bias"];
              t.erase("fc1.bias");
            }),
            weights + ": has no tensor 'fc1.bias', which " + json.string() + " names");
  // What is decoded is checked like any plane: index 5 of 5 entries.
  Model six = testing::packed_mlp({120, 60, 10}, {.bits = 3}, 6);
  const TensorMap of_six = read_safetensors(save(six, folder / "six", kCoded).weights).tensors;
  EXPECT_NE(message_with([&](TensorMap& t) {
              t["fc1.weight.indices.rans"] = of_six.at("fc1.weight.indices.rans");
            }).find("tensor 'fc1.weight.indices': index 5 at position "),
            std::string::npos);
}

TEST(CodedModel, StandAloneDecoderReadsIt) {
  if (std::system("python3 --version > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "python3 is not installed";
  }
  const TempFolder folder("coded_script");
  const auto run = [&](const fs::path& json, const std::string& name) {
    const std::string command = cat("python3 '", testing::test_dir().string(),
                                    "/../scripts/decode.py' '", json.string(), "' ", name, " 2>&1");
    std::string out;
    FILE* pipe = ::popen(command.c_str(), "r");
    char buffer[4096];
    for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
      out.append(buffer, n);
    }
    ::pclose(pipe);
    return out;
  };
  for (const auto& [format, k] :
       std::vector<std::pair<CodebookFormat, std::int64_t>>{{{.bits = 2, .group_rows = 4}, 3},
                                                            {{.bits = 3}, 5},
                                                            {{.bits = 5, .vector_len = 2}, 17}}) {
    SCOPED_TRACE(Encoding::codebook(format).text());
    const Model model = testing::packed_mlp({90, 32, 4}, format, k);
    const SavedModel plain = save(model, folder / "plain"),
                     coded = save(model, folder / "coded", kCoded);
    ASSERT_TRUE(coded.coded.contains("fc1.weight.indices"));
    const std::string values = run(plain.json, "fc1.weight");
    EXPECT_EQ(std::count(values.begin(), values.end(), '\n'), 90 * 32);
    EXPECT_EQ(run(coded.json, "fc1.weight"), values);
  }
}

}  // namespace
}  // namespace tessera
