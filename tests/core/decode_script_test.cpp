// scripts/decode.py, an independent reader of the files, against the definition of the index order.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <sstream>

#include "core/encoding.h"
#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/files/safetensors.h"
#include "core/rng.h"
#include "ops/sparse/positions.h"
#include "tests/test_dir.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

struct Output {
  std::string text;
  int status = 0;
};

Output shell(const std::string& command) {
  Output out;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return {"", -1};
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    out.text.append(buffer, n);
  }
  out.status = ::pclose(pipe);
  return out;
}

// Random planes of a codebook tensor, and the values they stand for.
std::vector<float> random_codebook(const TensorType& type, const std::string& name, Rng& rng,
                                   TensorMap& tensors) {
  const CodebookFormat& format = *type.encoding.codebook_format();
  const std::int64_t k = std::max<std::int64_t>(1, format.max_entries() - 1);
  const std::int64_t count = format.index_count(type.shape);
  Tensor indices(DType::u8, format.indices_shape(type.shape));
  auto stream = indices.span<std::uint8_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    put_index(stream.data(), format.bits, i,
              static_cast<std::uint32_t>(rng.below(static_cast<std::uint64_t>(k))));
  }
  Tensor entries(format.entry_dtype, format.entries_shape(type.shape, k));
  for (std::int64_t i = 0; i < entries.numel(); ++i) {
    set_element(entries, i, rng.uniform(-100.0f, 100.0f));
  }
  tensors[name + ".indices"] = indices;
  tensors[name + ".entries"] = entries;
  Tensor scale;
  if (format.scale_block != 0) {
    scale = Tensor(DType::f32, format.scale_shape(type.shape));
    for (float& value : scale.span<float>()) value = rng.uniform(0.5f, 2.0f);
    tensors[name + ".scale"] = scale;
  }

  std::vector<float> values;
  const CodebookLayout layout(format, type.shape, k);
  for (std::int64_t i = 0; i < type.shape.numel(); ++i) {
    const std::int64_t index = layout.index(stream.data(), i);
    auto value = static_cast<float>(element(entries, layout.entry(i, index)));
    if (scale.defined()) value *= scale.span<float>()[static_cast<std::size_t>(layout.scale(i))];
    values.push_back(value);
  }
  return values;
}

// A model file written by hand, and what its weights decode to.
struct WrittenModel {
  TensorMap tensors;
  Json nodes = Json::array();
  std::map<std::string, std::vector<float>> expected;
  Rng rng{5, 5};

  Json add(const std::string& op, const std::string& name, const std::string& type,
           const Json& inputs) {
    nodes.push_back({{"id", nodes.size()}, {"op", op}, {"type", type}, {"inputs", inputs}});
    if (!name.empty()) nodes.back()["name"] = name;
    return Json(nodes.size() - 1);
  }
  // Params of the planes that there are.
  Json planes(const std::string& name, const std::vector<std::string>& suffixes) {
    Json out = Json::array();
    for (const std::string& suffix : suffixes) {
      const auto it = tensors.find(name + suffix);
      if (it == tensors.end()) continue;
      out.push_back(add("param", it->first, it->second.text_type(), Json::array()));
    }
    return out;
  }
  void dense(const std::string& name, const std::vector<float>& values) {
    tensors[name] = Tensor::from(values, Shape{std::ssize(values)});
    expected[name] = values;
    add("param", name, tensors[name].text_type(), Json::array());
  }
  Json codebook(const std::string& name, const std::string& type) {
    expected[name] = random_codebook(parse_type(type), name, rng, tensors);
    return add("codebook", "", type, planes(name, {".indices", ".entries", ".scale"}));
  }
  void corrected(const std::string& name, const std::string& type,
                 const std::vector<std::int64_t>& at) {
    const Json base = codebook(name, type);
    const auto stream = encode_positions(at);
    std::vector<float> values;
    for (const std::int64_t i : at) {
      values.push_back(rng.uniform(-3.0f, 3.0f));
      expected[name][static_cast<std::size_t>(i)] += values.back();
    }
    tensors[name + ".sparse.positions"] = Tensor::from(stream, Shape{std::ssize(stream)});
    tensors[name + ".sparse.values"] = Tensor::from(values, Shape{std::ssize(values)});
    const std::string dense = parse_type(type).dense().text();
    const Json sparse =
        add("sparse", "", dense, planes(name + ".sparse", {".positions", ".values"}));
    add("add", "", dense, Json::array({base, sparse}));
  }
  // m.json and m.safetensors, whose bytes it returns.
  std::string write(const fs::path& folder) const {
    const SafetensorsImage image = make_safetensors(tensors);
    image.write(folder / "m.safetensors");
    write_file(folder / "m.json",
               json_text({{"weights", {{"file", "m.safetensors"}, {"sha256", image.sha256()}}},
                          {"nodes", nodes}}));
    return image.content();
  }
};

TEST(DecodeScript, ReadsEveryFormat) {
  if (shell("python3 --version").status != 0) GTEST_SKIP() << "python3 is not installed";
  const fs::path folder = fs::path(::testing::TempDir()) / cat("tessera_decode_", ::getpid());
  fs::create_directories(folder);
  const std::vector<std::string> types = {
      "f32[5,7]@cb1",          "f32[5,7]@cb3",          "f32[11]@cb8",
      "f32[4,3,2,2]@cb4:bf16", "f32[6,10]@cb4:s8/srow", "f32[7,10]@cb5/g3",
      "f32[5,10]@cb6/g2s4v2",  "f32[9,12]@cb7/s5v4",    "f32[3,8]@cb2:s8/g1srowv8",
  };
  WrittenModel model;
  model.dense("bias", {0.1f, -3.25e-20f, 7.0f});
  for (std::size_t i = 0; i < types.size(); ++i)
    model.codebook(cat("layer", i, ".weight"), types[i]);
  // Short and long gaps, the last element.
  model.corrected("fc.weight", "f32[9,4000]@cb2", {0, 1, 255, 511, 512, 768, 1100, 21000, 35999});
  std::string written = model.write(folder);

  const std::string command = cat("python3 '", testing::test_dir().string(),
                                  "/../scripts/decode.py' '", (folder / "m.json").string(), "' ");
  for (const auto& [name, values] : model.expected) {
    SCOPED_TRACE(name);
    const Output out = shell(command + name);
    ASSERT_EQ(out.status, 0) << out.text;
    std::istringstream lines(out.text);
    std::vector<float> read;
    for (std::string line; std::getline(lines, line);) read.push_back(std::stof(line));
    EXPECT_EQ(read, values);
  }
  const Output list = shell(command);
  EXPECT_NE(list.text.find("layer3.weight f32[4,3,2,2]@cb4:bf16\n"), std::string::npos)
      << list.text;
  EXPECT_NE(list.text.find("fc.weight f32[9,4000]@cb2 + sparse\n"), std::string::npos) << list.text;
  EXPECT_EQ(list.text.find("sparse.values"), std::string::npos) << list.text;
  EXPECT_NE(shell(command + "none").status, 0);
  const Output help = shell(command + "--help");
  EXPECT_EQ(help.status, 0);
  EXPECT_NE(help.text.find("lists the parameters with their types"), std::string::npos);

  written.back() = static_cast<char>(written.back() ^ 1);
  write_file(folder / "m.safetensors", written);
  const Output refused = shell(command + "bias");
  EXPECT_NE(refused.status, 0);
  EXPECT_NE(refused.text.find("sha256"), std::string::npos) << refused.text;
  fs::remove_all(folder);
}

// A file may not lead the script to others, nor move the terminal's cursor.
TEST(DecodeScript, TrustsNoName) {
  if (std::system("python3 --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no python3";
  const fs::path folder = fs::path(::testing::TempDir()) / cat("tessera_names_", ::getpid());
  fs::create_directories(folder / "inner");
  const SafetensorsImage image = make_safetensors({{"w", Tensor::full({1}, 7)}});
  image.write(folder / "w.safetensors");
  image.write(folder / "inner/.w");
  const std::string name = "a\x1b[31m\nb\xc2\x9b";
  const auto list = [&](const std::string& weights) {
    const Json model = {
        {"weights", {{"file", weights}, {"sha256", image.sha256()}}},
        {"nodes", {{{"id", 0}, {"op", "param"}, {"name", name}, {"type", "f32[1]"}}}}};
    write_file(folder / "inner/m.json", json_text(model));
    return shell(cat("python3 '", testing::test_dir().string(), "/../scripts/decode.py' '",
                     (folder / "inner/m.json").string(), "'"));
  };
  for (const std::string& weights :
       {std::string("../w.safetensors"), (folder / "w.safetensors").string(), std::string(".w"),
        std::string(), std::string("\x1b[31m/x"), std::string(300, 'a')}) {
    const Output refused = list(weights);
    EXPECT_NE(refused.status, 0) << weights;
    EXPECT_EQ(std::count(refused.text.begin(), refused.text.end(), '\n'), 1) << refused.text;
    EXPECT_EQ(refused.text.find('\x1b'), std::string::npos) << refused.text;
  }
  image.write(folder / "inner/w");
  EXPECT_EQ(list("w").text, "a\\x1b[31m\\x0ab\\xc2\\x9b f32[1]\n");
  // What a link leads to has its weights beside it.
  fs::create_directories(folder / "links");
  fs::create_symlink("../inner/m.json", folder / "links/m.json");
  EXPECT_EQ(shell(cat("python3 '", testing::test_dir().string(), "/../scripts/decode.py' '",
                      (folder / "links/m.json").string(), "'"))
                .status,
            0);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace tessera
