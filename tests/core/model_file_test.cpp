#include "core/files/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <sstream>

#include "core/files/atomic_file.h"
#include "core/files/graph_json.h"
#include "core/files/safetensors.h"
#include "core/graph_text.h"
#include "ops/load.h"
#include "tests/core/sample_models.h"
#include "tests/error_of.h"
#include "tests/test_dir.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::TempFolder;

std::string message_of(const fs::path& path) {
  try {
    load(path);
  } catch (const Error& error) {
    EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
    return error.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    out.push_back(entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// Writes a model by hand: any tensors under any graph, with the right SHA-256.
void write_model(const fs::path& json, const Graph& graph, const TensorMap& tensors) {
  const SafetensorsImage image = make_safetensors(tensors);
  image.write(json.parent_path() / "w.safetensors");
  write_file(json, graph_to_json(graph, {}, WeightsFile{"w.safetensors", image.sha256()}));
}

// The contents of the files give what the files give, and are trusted as little.
TEST(ModelFile, LoadsFromMemory) {
  const TempFolder folder("model");
  Model model = testing::packed_mlp({784, 30, 10}, {.bits = 2}, 4);
  model.settings["seed"] = "1";
  for (const bool coded : {false, true}) {
    const SavedModel saved = save(model, folder / "net", {.entropy_coded = coded});
    const std::string json = read_file(saved.json);
    std::string weights = read_file(saved.weights);
    const Model loaded = load_from_memory(json, weights, "net");
    EXPECT_EQ(graph_text(loaded.graph), graph_text(model.graph));
    EXPECT_EQ(loaded.settings, model.settings);
    for (const auto& [name, tensor] : model.state.tensors()) {
      const Tensor& read = loaded.state.get(name);
      ASSERT_EQ(read.bytes(), tensor.bytes()) << name;
      EXPECT_EQ(std::memcmp(read.data(), tensor.data(), static_cast<std::size_t>(read.bytes())), 0);
    }
    const auto refusal = [&](std::string_view graph, std::string_view bytes) {
      return error_of([&] { load_from_memory(graph, bytes, "net"); });
    };
    EXPECT_TRUE(refusal(json.substr(0, 100), weights).starts_with("net: byte "));
    EXPECT_TRUE(contains(refusal(graph_to_json(model.graph), weights), "'weights' is missing"));
    EXPECT_TRUE(
        refusal(json, weights.substr(0, weights.size() - 1)).starts_with("weights of net: "));
    weights.back() = static_cast<char>(weights.back() ^ 1);
    EXPECT_TRUE(contains(refusal(json, weights), "weights of net: its SHA-256 is "));
  }
}

TEST(ModelFile, SavesAndLoads) {
  const TempFolder folder("model");
  Model model = testing::small_model();
  model.attached["vocabulary"] = "a\nb\n";
  const SavedModel saved = save(model, folder / "net");
  EXPECT_EQ(saved.json, folder / "net.json");
  EXPECT_EQ(static_cast<std::int64_t>(fs::file_size(saved.json)), saved.json_bytes);
  EXPECT_EQ(static_cast<std::int64_t>(fs::file_size(saved.weights)), saved.weights_bytes);
  const Model again = load(saved.json);
  EXPECT_EQ(graph_text(again.graph), graph_text(model.graph));
  EXPECT_EQ(again.settings, model.settings);
  EXPECT_EQ(again.attached, model.attached);
  EXPECT_TRUE(equal_bits(again.state, model.state));
}

TEST(ModelFile, LoadsAtAnotherBatchWithTheSameLogits) {
  const TempFolder folder("batch");
  const Model model = testing::packed_mlp({40, 30, 10}, {.bits = 2, .group_rows = 8}, 4);
  save(model, folder / "net");
  const Model again = load(folder / "net.json");
  EXPECT_EQ(again.graph.source(), (folder / "net.json").string());
  EXPECT_EQ(model.graph.source(), "");
  Rng rng(2, 2);
  const Tensor x = testing::random_f32({5, 40}, -1, 1, rng);
  const Tensor all = compile(again, {.batch = 5}).run({{"x", x}}).at("logits");
  const Plan one = compile(model, {.batch = 1});
  for (int i = 0; i < 5; ++i) {
    const Tensor row = one.run({{"x", x.slice(i, i + 1)}}).at("logits");
    for (int j = 0; j < 10; ++j) EXPECT_NEAR(element(row, j), element(all, i * 10 + j), 1e-5);
  }
}

TEST(ModelFile, LenetAtOneBitIsSmall) {
  const TempFolder folder("lenet");
  const SavedModel saved =
      save(testing::packed_mlp({784, 300, 100, 10}, {.bits = 1}, 2), folder / "lenet");
  EXPECT_LE(saved.weights_bytes, 36864);
  EXPECT_LE(saved.json_bytes, 20480);
}

TEST(ModelFile, SameModelSameBytes) {
  const TempFolder a("bytes_a"), b("bytes_b");
  const SavedModel first = save(testing::small_model(), a / "net.json");
  const SavedModel second = save(load(first.json), b / "net.json");
  EXPECT_EQ(first.weights.filename(), second.weights.filename());
  EXPECT_EQ(read_file(first.json), read_file(second.json));
  EXPECT_EQ(read_file(first.weights), read_file(second.weights));
}

TEST(ModelFile, SavesOnlyWhatTheGraphReads) {
  const TempFolder folder("live");
  Model model = testing::small_model();
  model.graph.param("unused", f32({3}));
  model.state.set("fc1.weight.momentum", Tensor::full({2}, 1));
  const Model again = load(save(model, folder / "net").json);
  EXPECT_FALSE(again.state.has("unused"));
  EXPECT_EQ(again.state.size(), model.state.size() - 1);
}

TEST(ModelFile, ReplacesOldWeightsOnly) {
  const TempFolder folder("old");
  Model model = testing::small_model();
  const SavedModel first = save(model, folder / "net");
  const SavedModel other = save(model, folder / "net-2");
  write_file(folder / "net-notes.safetensors", "mine");
  model.state.set("fc1.bias", Tensor::full({4}, 0.5f));
  const SavedModel second = save(model, folder / "net");
  EXPECT_NE(first.weights, second.weights);
  EXPECT_EQ(files_in(folder.path()),
            (std::vector<std::string>{other.weights.filename().string(), "net-2.json",
                                      second.weights.filename().string(), "net-notes.safetensors",
                                      "net.json"}));
  EXPECT_EQ(load(folder / "net.json").state.get("fc1.bias").span<float>()[0], 0.5f);
}

TEST(ModelFile, FailedSaveLeavesTheOldModel) {
  const TempFolder folder("failed");
  Model model = testing::small_model();
  save(model, folder / "net");
  const auto before = files_in(folder.path());
  // NAME.json that cannot be replaced: a folder stands in its place.
  fs::create_directories(folder / "taken.json");
  EXPECT_THROW(save(model, folder / "taken"), Error);
  fs::remove(folder / "taken.json");
  // Weights that are not sound.
  model.state.set("fc2.bias", Tensor::full({3}, std::nanf("")));
  EXPECT_THROW(save(model, folder / "net"), Error);
  model.state.set("fc2.bias", Tensor::full({4}, 0));
  EXPECT_THROW(save(model, folder / "net"), Error);
  model.state.erase("fc2.bias");
  EXPECT_THROW(save(model, folder / "net"), Error);
  EXPECT_EQ(files_in(folder.path()), before);
  EXPECT_EQ(message_of(folder / "net.json"), "no error");
  EXPECT_THROW(save(testing::small_model(), folder / "no/such/net"), Error);
}

TEST(ModelFile, MissingFiles) {
  const TempFolder folder("missing");
  EXPECT_TRUE(contains(message_of(folder / "net.json"), "net.json"));
  const SavedModel saved = save(testing::small_model(), folder / "net");
  fs::remove(saved.weights);
  EXPECT_EQ(message_of(saved.json),
            cat(saved.json.string(), ": its weights file ", saved.weights.string(),
                " is missing; the two files travel together"));
  write_file(folder / "graph.json", graph_to_json(testing::small_model().graph));
  EXPECT_EQ(message_of(folder / "graph.json"),
            (folder / "graph.json").string() + ": field 'weights' is missing");
}

TEST(ModelFile, DamagedWeights) {
  const TempFolder folder("damaged");
  const SavedModel saved = save(testing::small_model(), folder / "net");
  const std::string good = read_file(saved.weights);
  std::string bad = good;
  bad.back() = static_cast<char>(bad.back() ^ 1);
  write_file(saved.weights, bad);
  EXPECT_TRUE(contains(message_of(saved.json), "its SHA-256 is ")) << message_of(saved.json);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, good.size() / 2, good.size() - 1}) {
    write_file(saved.weights, good.substr(0, size));
    const std::string message = message_of(saved.json);
    EXPECT_TRUE(message.starts_with(saved.weights.string() + ": ")) << message;
  }
  write_file(saved.weights, good);
  EXPECT_EQ(message_of(saved.json), "no error");
  const std::string json = read_file(saved.json);
  for (std::size_t size = 0; size + 2 < json.size(); size += 13) {
    write_file(saved.json, json.substr(0, size));
    EXPECT_TRUE(message_of(saved.json).starts_with(saved.json.string() + ": byte "));
  }
}

TEST(ModelFile, TensorsMustBeThoseOfTheGraph) {
  const TempFolder folder("tensors");
  const Model model = testing::small_model();
  const TensorMap tensors = model.state.tensors();
  const std::string weights = (folder / "w.safetensors").string();
  const std::string json = (folder / "net.json").string();
  const auto message_with = [&](auto&& change) {
    TensorMap changed = tensors;
    change(changed);
    write_model(json, model.graph, changed);
    return message_of(json);
  };
  EXPECT_EQ(message_with([](TensorMap&) {}), "no error");
  EXPECT_EQ(message_with([](TensorMap& t) { t.erase("fc2.bias"); }),
            cat(weights, ": has no tensor 'fc2.bias', which ", json, " names"));
  EXPECT_EQ(message_with([](TensorMap& t) { t["more"] = Tensor::full({1}, 0); }),
            cat(weights, ": tensor 'more' is not in ", json));
  EXPECT_EQ(message_with([](TensorMap& t) { t["fc2.bias"] = Tensor::full({4}, 0); }),
            cat(weights, ": tensor 'fc2.bias' is F32[4], ", json, " says f32[3]"));
  EXPECT_EQ(message_with([](TensorMap& t) { t["fc2.bias"] = Tensor(DType::bf16, {3}); }),
            cat(weights, ": tensor 'fc2.bias' is BF16[3], ", json, " says f32[3]"));
  EXPECT_EQ(message_with([](TensorMap& t) {
              t["fc2.bias"] = t["fc2.bias"].clone();
              t["fc2.bias"].span<float>()[1] = std::nanf("");
            }),
            cat(weights, ": tensor 'fc2.bias': element 1 is NaN"));
  EXPECT_EQ(message_with([](TensorMap& t) {
              t["fc1.weight.entries"] = t["fc1.weight.entries"].clone();
              t["fc1.weight.entries"].span<float>()[7] = std::nanf("");
            }),
            cat(weights, ": tensor 'fc1.weight.entries': element 7 is NaN"));
  // Index 2 of 3 bits sits in bits 6 to 8.
  EXPECT_EQ(message_with([](TensorMap& t) {
              Tensor& indices = t["fc1.weight.indices"] = t["fc1.weight.indices"].clone();
              indices.span<std::uint8_t>()[0] |= 0xc0;
              indices.span<std::uint8_t>()[1] |= 1;
            }),
            cat(weights,
                ": tensor 'fc1.weight.indices': index 7 at position 2 is not below the "
                "number of entries, 5"));
}

TEST(ModelFile, ChecksEveryIndex) {
  for (int bits = 2; bits <= 8; ++bits) {
    const CodebookFormat format{.bits = bits};
    const Shape shape{7, 29};
    const std::int64_t k = format.max_entries() - 1;
    Model model{Graph(ops::standard_ops()), {}, {}};
    Rng rng(1, 1);
    const Value w = testing::packed_param(model.graph, model.state, "w", shape, format, k, rng);
    model.graph.set_output("y", ops::matmul(model.graph.input("x", f32({1, 29})), w, false, true));
    const Tensor good = model.state.get("w.indices");
    EXPECT_NO_THROW(check_weights(model.graph, model.state.tensors(), "m"));
    for (std::int64_t at = 0; at < shape.numel(); at += 11) {
      Tensor bad = good.clone();
      for (std::int64_t bit = at * bits; bit < (at + 1) * bits; ++bit) {
        bad.span<std::uint8_t>()[static_cast<std::size_t>(bit / 8)] |=
            static_cast<std::uint8_t>(1 << (bit % 8));
      }
      model.state.set("w.indices", bad);
      try {
        check_weights(model.graph, model.state.tensors(), "m");
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()),
                  cat("m: tensor 'w.indices': index ", k, " at position ", at,
                      " is not below the number of entries, ", k));
      }
    }
  }
}

TEST(ModelFile, CodebookPlanesMustBeStored) {
  const TempFolder folder("planes");
  Graph graph(ops::standard_ops());
  const Value indices = graph.input("i", {DType::u8, {2}, {}});
  const Value entries = graph.param("e", f32({1, 2}));
  const Value w = ops::codebook(indices, entries, {}, {.bits = 1}, {3, 4});
  graph.set_output("y", ops::decode(w));
  write_model(folder / "net.json", graph, {{"e", Tensor::full({1, 2}, 1)}});
  EXPECT_TRUE(contains(message_of(folder / "net.json"), "its indices must be a param or a state"));
}

TEST(ModelFile, StandAloneDecoderReadsIt) {
  if (std::system("python3 --version > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "python3 is not installed";
  }
  const TempFolder folder("script");
  const Model model = testing::small_model();
  save(model, folder / "net");
  const auto run = [&](const std::string& arguments) {
    const std::string command =
        cat("python3 '", testing::test_dir().string(), "/../scripts/decode.py' '",
            (folder / "net.json").string(), "' ", arguments, " 2>&1");
    std::string out;
    FILE* pipe = ::popen(command.c_str(), "r");
    char buffer[4096];
    for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
      out.append(buffer, n);
    EXPECT_EQ(::pclose(pipe), 0) << out;
    return out;
  };
  EXPECT_EQ(run(""),
            "fc1.weight f32[4,6]@cb3/g2s4\nfc1.bias f32[4]\n"
            "fc2.weight f32[3,4]@cb3/g2s4\nfc2.bias f32[3]\n");
  // What the plan multiplies with is what the script prints: rows of W are its outputs.
  Model decode{Graph(ops::standard_ops()), model.state.clone(), {}};
  Graph& graph = decode.graph;
  const CodebookFormat format{.bits = 3, .group_rows = 2, .scale_block = 4};
  const Value w = ops::codebook(graph.param("fc1.weight.indices", {DType::u8, {9}, {}}),
                                graph.param("fc1.weight.entries", f32({2, 5})),
                                graph.param("fc1.weight.scale", f32({4, 2})), format, {4, 6});
  graph.set_output("w", ops::decode(w));
  const Tensor expected = compile(decode).run({}).at("w");
  std::istringstream lines(run("fc1.weight"));
  std::vector<float> values;
  for (std::string line; std::getline(lines, line);) values.push_back(std::stof(line));
  EXPECT_EQ(values, expected.to_vector<float>());
}

}  // namespace
}  // namespace tessera
