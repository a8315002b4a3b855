#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "core/files/atomic_file.h"
#include "core/files/checkpoint.h"
#include "core/files/json_io.h"
#include "core/files/safetensors.h"
#include "core/files/sha256.h"
#include "core/rng.h"
#include "core/state.h"
#include "tests/error_of.h"
#include "tests/malformed/safetensors_cases.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  Files() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / cat("tessera_", test->name(), "_", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Files() override { fs::remove_all(folder_); }
  fs::path path(const std::string& name) const { return folder_ / name; }
  std::size_t file_count() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

using testing::error_of;

Tensor random_tensor(DType dtype, const Shape& shape, std::uint64_t seed) {
  Tensor out(dtype, shape);
  Rng rng(seed, 1);
  for (std::int64_t i = 0; i < out.bytes(); ++i) out.data()[i] = std::byte(rng.below(256));
  return out;
}

// ---- whole files ----

TEST_F(Files, WritesAndReads) {
  write_file(path("a"), "first");
  EXPECT_EQ(read_file(path("a")), "first");
  write_file(path("a"), "");
  EXPECT_EQ(read_file(path("a")), "");
  const std::string big(3 << 20, 'x');
  write_file(path("a"), big);
  EXPECT_EQ(read_file(path("a")), big);
  EXPECT_EQ(read_file(path("a"), std::ssize(big)), big);
  EXPECT_EQ(
      error_of([&] { read_file(path("a"), 100); }),
      "cannot read " + path("a").string() + ": 3145728 bytes, more than the limit of 100 bytes");
  EXPECT_EQ(file_count(), 1u);
  InputFile file(path("a"));
  EXPECT_EQ(file.head(10), big.substr(0, 10));
  EXPECT_EQ(file.size(), 3145728);
}

TEST_F(Files, KeepsModeAndFollowsLinks) {
  write_file(path("a"), "old");
  ASSERT_EQ(::chmod(path("a").c_str(), 0640), 0);
  fs::create_symlink("a", path("link"));
  write_file(path("link"), "new");
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_file(path("a")), "new");
  EXPECT_EQ(fs::status(path("a")).permissions(), fs::perms(0640));
}

TEST_F(Files, RelativePathWithoutFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  write_file("plain", "x");
  fs::current_path(before);
  EXPECT_EQ(read_file(path("plain")), "x");
}

TEST_F(Files, FailuresNameThePath) {
  EXPECT_EQ(error_of([&] { read_file(path("none")); }),
            "cannot read " + path("none").string() + ": No such file or directory");
  EXPECT_EQ(error_of([&] { read_file(folder_); }),
            "cannot read " + folder_.string() + ": Is a directory");
  EXPECT_EQ(error_of([&] { write_file(path("no/file"), "x"); }),
            "cannot write " + path("no/file").string() + ": No such file or directory");
  EXPECT_EQ(error_of([&] { write_file(folder_, "x"); }),
            "cannot write " + folder_.string() + ": Is a directory");
  if (fs::exists("/dev/full")) {
    EXPECT_EQ(error_of([&] { write_file("/dev/full", "x"); }),
              "cannot write /dev/full: No space left on device");
    EXPECT_TRUE(fs::is_character_file("/dev/full"));
  }
  if (::geteuid() == 0) return;  // root may write anywhere
  ASSERT_EQ(::chmod(folder_.c_str(), 0555), 0);
  EXPECT_EQ(error_of([&] { write_file(path("a"), "x"); }),
            "cannot write " + path("a").string() + ": Permission denied");
  ::chmod(folder_.c_str(), 0755);
}

TEST_F(Files, FailedWriteKeepsTheOldFileAndNoTemporary) {
  write_file(path("a"), "old");
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto message = error_of([&] { write_file(path("a"), std::string(5000, 'x')); });
    ::_exit(message == "cannot write " + path("a").string() + ": File too large" ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(path("a")), "old");
  EXPECT_EQ(file_count(), 1u);
}

TEST_F(Files, OfConcurrentWritersOneWins) {
  std::vector<std::thread> writers;
  for (char c = 'a'; c < 'e'; ++c) {
    writers.emplace_back([&, c] {
      for (int i = 0; i < 20; ++i) write_file(path("a"), std::string(10000, c));
    });
  }
  for (auto& writer : writers) writer.join();
  const std::string content = read_file(path("a"));
  EXPECT_EQ(content, std::string(10000, content.at(0)));
  EXPECT_EQ(file_count(), 1u);
}

// ---- JSON ----

TEST(JsonIo, SaysWhereAndWhat) {
  const Json json = parse_json(
      R"({"nodes":[{"shape":"x","n":3,"f":2.5,"big":18446744073709551615}],"a/b~":[1,null]})",
      "model.json");
  const JsonAt root(json, "model.json");
  const JsonAt node = root.at("nodes").item(0);
  EXPECT_EQ(error_of([&] { node.at("shape").integers("a list of dimensions"); }),
            "model.json: /nodes/0/shape: expected a list of dimensions, got string");
  EXPECT_EQ(error_of([&] { root.at("weights"); }), "model.json: field 'weights' is missing");
  EXPECT_EQ(error_of([&] { node.at("op"); }), "model.json: /nodes/0: field 'op' is missing");
  EXPECT_EQ(error_of([&] {
              node.only({"shape", "n"});
            }),
            "model.json: /nodes/0: unknown field 'big'");
  EXPECT_EQ(error_of([&] { root.at("nodes").item(1); }),
            "model.json: /nodes: expected at least 2 items, got 1");
  EXPECT_EQ(error_of([&] { root.at("a/b~").item(1).number(); }),
            "model.json: /a~1b~0/1: expected a number, got null");
  EXPECT_EQ(error_of([&] { root.text(); }), "model.json: expected a string, got object");
  EXPECT_EQ(error_of([&] { node.at("n").integer(0, 2); }),
            "model.json: /nodes/0/n: expected an integer in [0, 2], got 3");
  EXPECT_EQ(error_of([&] { node.at("f").integer(); }),
            "model.json: /nodes/0/f: expected an integer, got 2.5");
  EXPECT_EQ(error_of([&] { node.at("big").integer(0, 9); }),
            "model.json: /nodes/0/big: expected an integer in [0, 9], got 18446744073709551615");
  EXPECT_EQ(error_of([&] {
              node.at("shape").locate([](const JsonAt& at) { return parse_shape(at.text()); });
            }),
            "model.json: /nodes/0/shape: expected a shape such as [batch,784], got 'x'");
  EXPECT_EQ(error_of([&] { node.at("n").locate([](const JsonAt& at) { return at.text(); }); }),
            "model.json: /nodes/0/n: expected a string, got 3");
  EXPECT_EQ(node.at("n").integer(), 3);
  EXPECT_EQ(node.at("n").number(), 3.0);
  EXPECT_FALSE(node.find("absent"));
  EXPECT_EQ(node.fields().size(), 4u);
}

TEST(JsonIo, SyntaxDepthAndText) {
  EXPECT_EQ(error_of([] { parse_json("", "f"); }),
            "f: byte 0: syntax error while parsing value - unexpected end of input; expected '[', "
            "'{', or a literal");
  EXPECT_EQ(error_of([] { parse_json("[1,]", "f", {.first_byte = 100}); }),
            "f: byte 103: syntax error while parsing value - unexpected ']'; expected '[', '{', or "
            "a literal");
  EXPECT_EQ(error_of([] { parse_json("[[[1]]]", "f", {.max_depth = 2}); }),
            "f: byte 2: lists and objects nest deeper than 2");
  EXPECT_EQ(parse_json("[[1]]", "f", {.max_depth = 2}), Json({{1}}));
  EXPECT_EQ(error_of([] { parse_json(R"({"a":{"b":1,"b":2}})", "f"); }),
            "f: byte 12: key 'b' occurs twice in one object");
  // Same keys in different objects, values after nested ones.
  const Json nested = parse_json(R"({"a":{"x":[{"x":1},{"x":2}],"y":3},"x":null,"z":-4})", "f");
  EXPECT_EQ(json_text(nested), R"({"a":{"x":[{"x":1},{"x":2}],"y":3},"x":null,"z":-4})");
  EXPECT_EQ(error_of([] {
              json_text(Json{{"a", {1.0, NAN}}});
            }),
            "JSON cannot hold NaN or infinity");
  EXPECT_EQ(error_of([] { json_text(Json("\xff")); }),
            "text that is not UTF-8 cannot be written as JSON");
  EXPECT_EQ(printable("a\n\x7f" + std::string(100, 'b')).size(), 1u + 4 + 4 + 77 + 3);
}

// ---- safetensors ----

TEST_F(Files, SafetensorsRoundTripOfEveryDtype) {
  TensorMap tensors;
  for (const auto& row : kDTypes) {
    tensors[cat(row.name)] = random_tensor(row.dtype, {3, 5}, 7);
    tensors[cat(row.name, ".scalar")] = random_tensor(row.dtype, {}, 8);
    tensors[cat(row.name, ".empty")] = Tensor(row.dtype, {2, 0, 3});
  }
  tensors["quote \" slash \\ line\n \xc3\xa9"] = random_tensor(DType::f32, {1}, 9);
  tensors[""] = random_tensor(DType::u8, {1}, 9);
  const TextMap metadata = {{"k", "v\n\"x\""}, {"", ""}};
  write_safetensors(path("m"), tensors, metadata);

  const Safetensors back = read_safetensors(path("m"));
  EXPECT_EQ(back.metadata, metadata);
  ASSERT_EQ(back.tensors.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_TRUE(equal_bits(back.tensors.at(name), tensor)) << name;
  }
  const std::string content = read_file(path("m"));
  EXPECT_EQ(back.sha256, sha256_hex(content));
  const SafetensorsImage image = make_safetensors(tensors, metadata);
  EXPECT_EQ(image.content(), content);
  EXPECT_EQ(image.sha256(), back.sha256);
  EXPECT_EQ(image.bytes(), std::ssize(content));
  EXPECT_EQ(image.header.size() % 8, 0u);

  const SafetensorsHeader header = read_safetensors_header(path("m"));
  EXPECT_EQ(header.file_bytes, std::ssize(content));
  EXPECT_EQ(header.metadata, metadata);
  ASSERT_EQ(header.entries.size(), tensors.size());
  for (const auto& entry : header.entries) {
    const Tensor& tensor = tensors.at(entry.name);
    EXPECT_EQ(entry.dtype, tensor.dtype());
    EXPECT_EQ(entry.stored_dtype, info(tensor.dtype()).safetensors);
    EXPECT_EQ(entry.shape, tensor.shape().values());
    EXPECT_EQ(entry.bytes, tensor.bytes());
    EXPECT_EQ(entry.begin % size_of(tensor.dtype()), 0) << entry.name;
  }
}

TEST_F(Files, SafetensorsBytesAreFixed) {
  const TensorMap tensors = {{"b", Tensor::from<std::uint8_t>({7}, {1})},
                             {"c", Tensor::from<float>({1.0f}, {1})}};
  std::string expected = testing::safetensors_file(
      "{\"__metadata__\":{\"k\":\"v\"},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]"
      "}"
      ",\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}     ",
      0);
  expected += std::string("\0\0\x80\x3f\x07", 5);
  EXPECT_EQ(make_safetensors(tensors, {{"k", "v"}}).content(), expected);
  EXPECT_EQ(make_safetensors({}).content(), testing::safetensors_file("{}      ", 0));
  EXPECT_TRUE(parse_safetensors(make_safetensors({}).content(), "f").tensors.empty());
}

TEST(SafetensorsTest, OneBitLeNet300Fits) {
  TensorMap tensors;
  const std::int64_t sizes[][2] = {{784, 300}, {300, 100}, {100, 10}};
  for (int i = 0; i < 3; ++i) {
    const auto [in, out] = sizes[i];
    const std::string name = cat("fc", i + 1, ".");
    tensors[name + "weight.indices"] = Tensor(DType::u8, {(in * out + 7) / 8});
    tensors[name + "weight.entries"] = Tensor(DType::f32, {1, 2});
    tensors[name + "bias"] = Tensor(DType::f32, {out});
  }
  EXPECT_LE(make_safetensors(tensors).bytes(), 36864);
}

TEST(SafetensorsTest, ConvertsForeignHalvesAndDoubles) {
  std::string file = testing::safetensors_file(
      "{\"h\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[16,32]},"
      "\"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}",
      0);
  const double doubles[] = {0.1, -1e300};
  const std::uint16_t halves[] = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x83ff, 0x7c00, 0x8000, 0x7e01};
  file.append(reinterpret_cast<const char*>(doubles), 16);
  file.append(reinterpret_cast<const char*>(halves), 16);
  const auto tensors = parse_safetensors(file, "f").tensors;
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(tensors.at("d").to_vector<float>(), (std::vector<float>{0.1f, -infinity}));
  const auto h = tensors.at("h").span<float>();
  const float expected[] = {1, -2, 65504, 0x1p-24f, -0x1.ff8p-15f, infinity, 0};
  for (std::size_t i = 0; i < 7; ++i) EXPECT_EQ(h[i], expected[i]) << i;
  EXPECT_TRUE(std::signbit(h[6]));
  EXPECT_TRUE(std::isnan(h[7]));
}

TEST_F(Files, SafetensorsRefusesWhatIsMalformed) {
  for (const auto& bad : testing::malformed_safetensors()) {
    SCOPED_TRACE(bad.cause);
    EXPECT_EQ(error_of([&] { parse_safetensors(bad.bytes, "x.safetensors"); }),
              "x.safetensors: " + bad.message);
    write_file(path("x"), bad.bytes);
    const std::string expected = path("x").string() + ": " + bad.message;
    EXPECT_EQ(error_of([&] { read_safetensors(path("x")); }), expected);
    EXPECT_EQ(error_of([&] { read_safetensors_header(path("x")); }), expected);
  }
}

TEST(SafetensorsTest, WriterRefuses) {
  EXPECT_EQ(error_of([] {
              make_safetensors({{"a", Tensor()}});
            }),
            "cannot save the undefined tensor 'a'");
  EXPECT_EQ(error_of([] {
              make_safetensors({{"__metadata__", Tensor::scalar(1)}});
            }),
            "a tensor cannot be named __metadata__");
  EXPECT_EQ(error_of([] {
              make_safetensors({{"\xff", Tensor::scalar(1)}});
            }),
            "text that is not UTF-8 cannot be written as JSON");
}

// ---- state ----

TEST(StateTest, SetGetAndVersions) {
  State state;
  state.set("b", Tensor::scalar(1));
  state.set("a", Tensor::full({3}, 2));
  EXPECT_EQ(state.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(state.bytes(), 16);
  const auto first = state.version("b");
  EXPECT_NE(first, state.version("a"));
  state.mark_updated("b");
  const auto second = state.version("b");
  EXPECT_GT(second, first);
  state.set("b", Tensor::scalar(1));
  EXPECT_GT(state.version("b"), second);
  Tensor handle = state.get("b");
  handle.span<float>()[0] = 5;
  EXPECT_EQ(state.get("b").item(), 5);

  State copy = state.clone();
  EXPECT_TRUE(equal_bits(copy, state));
  EXPECT_NE(copy.version("a"), state.version("a"));
  handle.span<float>()[0] = 6;
  EXPECT_EQ(copy.get("b").item(), 5);
  EXPECT_FALSE(equal_bits(copy, state));

  EXPECT_TRUE(state.erase("b"));
  EXPECT_FALSE(state.erase("b"));
  EXPECT_FALSE(state.has("b"));
  EXPECT_FALSE(equal_bits(copy, state));
  EXPECT_EQ(error_of([&] { state.get("b"); }), "the state has no entry 'b'");
  EXPECT_EQ(error_of([&] { state.mark_updated("b"); }), "the state has no entry 'b'");
  EXPECT_EQ(error_of([&] { state.set("c", Tensor()); }),
            "state 'c' cannot be set to an undefined tensor");
}

// ---- checkpoints ----

State small_state(std::uint64_t seed) {
  State state;
  state.set("fc.weight", random_tensor(DType::f32, {3, 4}, seed));
  state.set("step", Tensor::from<std::int64_t>({std::int64_t(seed)}, {1}));
  state.set("codes", random_tensor(DType::u8, {5}, seed));
  return state;
}

const CheckpointInfo kInfo = {.epoch = 3,
                              .step = 1234,
                              .seed = 18446744073709551615ull,
                              .config = {{"lr", "0.1"}, {"text", "a \"b\"\n"}},
                              .extra = {{"best", "0.98"}}};

TEST_F(Files, CheckpointRoundTrip) {
  const State state = small_state(1);
  save_checkpoint(path("c"), state, kInfo);
  const Checkpoint back = load_checkpoint(path("c"));
  EXPECT_TRUE(equal_bits(back.state, state));
  EXPECT_EQ(back.info.epoch, 3);
  EXPECT_EQ(back.info.step, 1234);
  EXPECT_EQ(back.info.seed, kInfo.seed);
  EXPECT_EQ(back.info.config, kInfo.config);
  EXPECT_EQ(back.info.extra, kInfo.extra);
  const std::string first = read_file(path("c"));
  save_checkpoint(path("c"), back.state, back.info);
  EXPECT_EQ(read_file(path("c")), first);
  EXPECT_EQ(read_safetensors(path("c")).tensors.size(), 3u);
}

TEST_F(Files, CheckpointNoticesEveryChangedOrMissingByte) {
  save_checkpoint(path("c"), small_state(1), kInfo);
  const std::string good = read_file(path("c"));
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    EXPECT_NE(error_of([&] { parse_checkpoint(bad, "c"); }), "no error") << "byte " << i;
    EXPECT_NE(error_of([&] { parse_checkpoint(good.substr(0, i), "c"); }), "no error") << i;
  }
  std::string bad = good;
  bad.back() = static_cast<char>(bad.back() ^ 1);
  EXPECT_EQ(error_of([&] { parse_checkpoint(bad, "c"); }).substr(0, 48),
            "c: the checkpoint is damaged: its checksum is " +
                read_safetensors(path("c")).metadata.at("checksum").substr(0, 2));
  EXPECT_NE(error_of([&] { parse_checkpoint(good + "x", "c"); }), "no error");
}

TEST_F(Files, CheckpointRefusesOtherFiles) {
  write_safetensors(path("m"), {{"a", Tensor::scalar(1)}});
  EXPECT_EQ(error_of([&] { load_checkpoint(path("m")); }),
            path("m").string() + ": this safetensors file is not a checkpoint");
  write_safetensors(path("m"), {}, {{"format", "tessera.checkpoint"}, {"version", "2"}});
  EXPECT_EQ(error_of([&] { load_checkpoint(path("m")); }),
            path("m").string() + ": checkpoint version '2' is not supported, expected 1");
  write_safetensors(path("m"), {}, {{"format", "tessera.checkpoint"}, {"version", "1"}});
  EXPECT_EQ(error_of([&] { load_checkpoint(path("m")); }),
            path("m").string() + ": the checkpoint's metadata has no 'checksum'");
}

TEST(CheckpointTest, SaysWhatChanged) {
  const Config saved = {{"batch", "256"}, {"lr", "0.1"}, {"old", "1"}};
  const Config now = {{"batch", "256"}, {"lr", "0.2"}, {"new", "2"}};
  EXPECT_EQ(diff_config(saved, now),
            (std::vector<std::string>{"lr: was 0.1, now 0.2", "new: was not set, now 2",
                                      "old: was 1, now not set"}));
  EXPECT_TRUE(diff_config(saved, saved).empty());
  EXPECT_NE(config_sha256(saved), config_sha256(now));
  EXPECT_NO_THROW(require_same_config("c", saved, saved));
  EXPECT_EQ(error_of([&] {
              require_same_config("c", saved, {{"batch", "256"}, {"lr", "0.1"}});
            }),
            "cannot resume from c: the configuration changed: old: was 1, now not set");
}

// A process that saves two states in turn is killed at many moments.
TEST_F(Files, KilledWhileSaving) {
  State states[2];
  for (std::uint64_t i = 0; i < 2; ++i) {
    states[i].set("w", random_tensor(DType::f32, {1 << 16}, i));
  }
  save_checkpoint(path("c"), states[0], kInfo);
  for (int round = 0; round < 15; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int i = 0;; ++i) save_checkpoint(path("c"), states[i & 1], kInfo);
    }
    ASSERT_GT(child, 0);
    std::this_thread::sleep_for(std::chrono::microseconds(3000 + 4000 * round));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const Checkpoint back = load_checkpoint(path("c"));
    EXPECT_TRUE(equal_bits(back.state, states[0]) || equal_bits(back.state, states[1]));
  }
  save_checkpoint(path("c"), states[1], kInfo);
  EXPECT_TRUE(equal_bits(load_checkpoint(path("c")).state, states[1]));
  EXPECT_EQ(file_count(), 1u);
}

}  // namespace
}  // namespace tessera
