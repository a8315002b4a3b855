// What a small file may make the process take: the rule, and each place that keeps it.
#include "core/memory_rule.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/files/atomic_file.h"
#include "core/files/graph_json.h"
#include "core/files/import.h"
#include "core/files/json_io.h"
#include "core/files/model.h"
#include "core/plan_data.h"
#include "ops/load.h"
#include "ops/sparse/sparse.h"
#include "tests/core/sample_models.h"
#include "tests/error_of.h"
#include "tests/malformed/archives.h"

namespace tessera {
namespace {

using testing::TempFolder;

using testing::error_of;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The rule is the process's: each test leaves it as it was.
class MemoryRule : public ::testing::Test {
 protected:
  ~MemoryRule() override { allow_memory(0); }
  TempFolder folder{"memory"};
};

TEST_F(MemoryRule, FourTimesAndASpare) {
  EXPECT_EQ(memory_limit(0), 256 << 20);
  EXPECT_EQ(memory_limit(1000), (256 << 20) + 4000);
  EXPECT_EQ(memory_limit(1000, 3), 3 * ((256 << 20) + 4000));
  EXPECT_EQ(memory_limit(std::int64_t{1} << 62), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(error_of([] { require_memory((256 << 20) + 4001, 1000, "m.json: this takes"); }),
            "m.json: this takes 268439457 bytes of memory, more than the limit of 268439456; "
            "--max-memory 257 allows it (in C++ allow_memory())");
  EXPECT_NO_THROW(require_memory((256 << 20) + 4000, 1000, ""));
  allow_memory(std::int64_t{257} << 20);
  EXPECT_NO_THROW(require_memory((256 << 20) + 4001, 1000, ""));
}

// A value of a gigabyte made of one parameter.
Model wide_model(bool from_input, const std::string& source = "m.json") {
  Model model{Graph(ops::standard_ops()), {}, {}};
  model.graph.set_source(source);
  const Value x = from_input ? model.graph.input("x", f32({1})) : model.graph.param("w", f32({1}));
  if (!from_input) model.state.set("w", Tensor::full({1}, 1));
  model.graph.set_output("y", ops::exp(ops::broadcast_to(x, Shape{1 << 28})));
  return model;
}

TEST_F(MemoryRule, PlansOfModels) {
  reset_allocation_peak();
  const std::int64_t before = allocation_count().peak_bytes;
  const auto refusal = [](const Model& model) { return error_of([&] { compile(model); }); };
  EXPECT_TRUE(refusal(wide_model(false)).starts_with("m.json: what its plan prepares once takes "));
  EXPECT_TRUE(refusal(wide_model(true)).starts_with("m.json: a run at batch 1 takes "));
  // Copies are as little trusted, also without a state.
  EXPECT_NE(error_of([] { compile(clone(wide_model(true).graph)); }), "no error");
  // What a program builds is its own business.
  EXPECT_EQ(refusal(wide_model(true, "")), "no error");
  EXPECT_LT(allocation_count().peak_bytes, before + (1 << 20));
  // A sample's share grows with the batch.
  Model model = testing::packed_mlp({600, 400, 10}, {.bits = 1}, 2);
  EXPECT_NO_THROW(compile(model, {.batch = 200000}));
  // Preparing a plan takes no memory for its runs.
  EXPECT_LT(allocation_count().peak_bytes, before + (1 << 24));
}

// The position of one value in a tensor of 2^30 elements.
TEST_F(MemoryRule, SparsePlanesAreCheckedWithoutTheirTensor) {
  Model model{Graph(ops::standard_ops()), {}, {}};
  const Shape shape{std::int64_t{1} << 30};
  const Value w = ops::sparse(model.graph.param("p", {DType::u8, {1}, {}}),
                              model.graph.param("v", f32({1})), shape);
  model.graph.set_output("y", w);
  model.state.set("p", Tensor(DType::u8, {1}));
  model.state.set("v", Tensor::full({1}, 1));
  const pid_t child = ::fork();
  if (child == 0) {
    rusage before{}, after{};
    ::getrusage(RUSAGE_SELF, &before);
    const bool good =
        error_of([&] { check_weights(model.graph, model.state.tensors(), "m"); }) == "no error";
    ::getrusage(RUSAGE_SELF, &after);
    ::_exit(good && after.ru_maxrss - before.ru_maxrss < (64 << 10) ? 0 : 1);  // KiB
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  Tensor bad(DType::u8, {1});
  bad.span<std::uint8_t>()[0] = 255;
  model.state.set("p", bad);
  EXPECT_EQ(error_of([&] { check_weights(model.graph, model.state.tensors(), "m"); }),
            "m: tensor 'p': sparse positions end within a value, after 1 bytes");
}

TEST_F(MemoryRule, Json) {
  const std::string list = "[" + std::string(10 << 20, ' ') + "]";
  const std::string message =
      "parsing 10485762 bytes of JSON takes 524288100 bytes of memory, more";
  EXPECT_TRUE(contains(error_of([&] { parse_json(list, "f"); }), "f: " + message));
  // Of a larger file it may be more.
  EXPECT_NO_THROW(parse_json(list, "f", {.file_bytes = 100 << 20}));
  write_file(folder / "m.json", list);
  EXPECT_TRUE(contains(error_of([&] { load(folder / "m.json"); }), "m.json: " + message));
  allow_memory(1 << 30);
  EXPECT_TRUE(contains(error_of([&] { load(folder / "m.json"); }), "expected an object, got list"));
}

TEST_F(MemoryRule, CodedPlanes) {
  // 2^29 indices of one bit that claim to be in 2^16 bytes of code.
  Graph graph(ops::standard_ops());
  const std::int64_t bytes = std::int64_t{1} << 29;
  const Value w = ops::codebook(graph.param("w.indices", {DType::u8, {bytes}, {}}),
                                graph.param("w.entries", f32({1, 2})), {}, {.bits = 1}, {8, bytes});
  graph.set_output("y", ops::matmul(graph.input("x", f32({1, bytes})), w, false, true));
  const SafetensorsImage image = make_safetensors(
      {{"w.indices.rans", Tensor(DType::u8, {1 << 19})}, {"w.entries", Tensor::full({1, 2}, 1)}});
  image.write(folder / "w.safetensors");
  write_file(folder / "m.json",
             graph_to_json(graph, {}, WeightsFile{"w.safetensors", image.sha256(), "rans"}));
  EXPECT_TRUE(contains(error_of([&] { load(folder / "m.json"); }),
                       "w.safetensors: decoding its planes takes 53"))
      << error_of([&] { load(folder / "m.json"); });
}

TEST_F(MemoryRule, Archives) {
  State state;
  state.set("a", Tensor(DType::u8, {1}));
  const auto import = [&](const std::string& bytes) {
    write_file(folder / "a", bytes);
    return error_of([&] { import_weights(folder / "a", state); });
  };
  EXPECT_TRUE(
      contains(import(testing::xz_of_zeros(90 << 20)), "bytes of xz unpack to more than 89"))
      << import(testing::xz_of_zeros(90 << 20));
  const std::string npz = testing::npz_of_zeros(90 << 20);
  EXPECT_TRUE(contains(import(npz), "array 'a.npy': unpacking takes 28")) << import(npz);
  allow_memory(1 << 30);
  EXPECT_TRUE(contains(import(npz), "expected u8[1], got u8[94371840]")) << import(npz);
}

// Buffers that live at the same time share no byte, however many there are.
TEST_F(MemoryRule, ArenaOfManyBuffers) {
  Rng rng(5, 5);
  const int count = 20000;
  std::vector<Buffer> buffers(count);
  std::vector<Lifetime> lives;
  std::int64_t most = 0, now = 0;
  std::vector<std::vector<int>> ends(count + 100);
  for (int b = 0; b < count; ++b) {
    buffers[static_cast<std::size_t>(b)].bytes = static_cast<std::int64_t>(rng.below(5000));
    const int last = b + static_cast<int>(rng.below(60));
    lives.push_back({b, b, last});
    ends[static_cast<std::size_t>(last)].push_back(b);
    now += (buffers[static_cast<std::size_t>(b)].bytes + 63) / 64 * 64;
    most = std::max(most, now);
    for (const int dead : ends[static_cast<std::size_t>(b)])
      now -= (buffers[static_cast<std::size_t>(dead)].bytes + 63) / 64 * 64;
  }
  const std::int64_t arena = plan_arena(buffers, lives);
  EXPECT_GE(arena, most);
  EXPECT_LT(arena, 2 * most);
  for (int a = 0; a < count; ++a) {
    const Buffer& x = buffers[static_cast<std::size_t>(a)];
    ASSERT_LE(x.offset + x.bytes, arena);
    ASSERT_EQ(x.offset % 64, 0);
    for (int b = a + 1; b < std::min(count, lives[static_cast<std::size_t>(a)].last + 1); ++b) {
      const Buffer& y = buffers[static_cast<std::size_t>(b)];
      ASSERT_TRUE(x.offset + x.bytes <= y.offset || y.offset + y.bytes <= x.offset)
          << a << " and " << b;
    }
  }
}

}  // namespace
}  // namespace tessera
