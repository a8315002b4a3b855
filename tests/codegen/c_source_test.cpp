// Networks as C against the reference and against plans: every operator by its samples, codebooks
// of every form, whole networks.
#include "codegen/c_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "codegen/c_text.h"
#include "core/compile.h"
#include "core/files/atomic_file.h"
#include "models/zoo.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/embedding/embedding.h"
#include "ops/op_list.h"
#include "ops/recurrent/lstm.h"
#include "tests/codegen/c_program.h"
#include "tests/core/sample_models.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

using testing::CProgram;

std::vector<Tensor> stored_inputs(const test::Case& c, Model& model) {
  // Planes of codebooks and of sparse tensors do not change; what is dense is an input.
  std::vector<Tensor> out;
  std::map<std::string, Tensor> tensors;
  for (std::size_t i = 0; i < c.planes.size(); ++i) {
    const Value v = c.node->inputs()[i];
    if (!v) continue;
    if (c.planes[i].size() == 1) {
      tensors[v.node->name()] = c.planes[i][0];
      continue;
    }
    for (std::size_t p = 0; p < c.planes[i].size(); ++p)
      tensors[v.node->input(static_cast<int>(p)).node->name()] = c.planes[i][p];
  }
  GraphMap map(c.graph);
  for (const Node& node : c.graph.nodes()) {
    std::vector<Value> inputs;
    for (const Value v : node.inputs()) inputs.push_back(v ? map[v] : Value());
    if (!node.op().has(kLeaf)) {
      map.set(node, copy_node(model.graph, node, inputs));
    } else if (node.types()[0].dtype == DType::u8 || node.types()[0].dtype == DType::bf16 ||
               node.name().find('.') != std::string::npos) {
      model.state.set(node.name(), tensors.at(node.name()));
      map.set(node, {model.graph.param(node.name(), node.types()[0])});
    } else {
      map.set(node, {model.graph.input(node.name(), node.types()[0])});
    }
  }
  for (std::size_t o = 0; o < c.node->types().size(); ++o) {
    if (c.node->op().name == "lstm_scan" && o > 2) break;  // for training
    model.graph.set_output(cat("y", o), map[{c.node, static_cast<int>(o)}]);
  }
  for (const Node* node : model.graph.inputs()) out.push_back(tensors.at(node->name()));
  return out;
}

double distance(const Tensor& got, const std::vector<double>& wanted) {
  double most = 0, scale = 1e-3;
  for (std::int64_t i = 0; i < got.numel(); ++i) {
    const double w = wanted[static_cast<std::size_t>(i)], g = element(got, i);
    if (std::isnan(w) && std::isnan(g)) continue;
    if (std::isinf(w) && g == w) continue;
    scale = std::max(scale, std::fabs(w));
    most = std::max(most, std::isnan(g) ? INFINITY : std::fabs(g - w));
  }
  return most / scale;
}

TEST(CSource, EveryOperatorAgreesWithItsReference) {
  CProgram program;
  struct Run {
    std::string what;
    std::vector<RefTensor> wanted;
  };
  std::vector<Run> runs;
  std::map<std::string, std::string> refused;  // the last reason
  std::map<std::string, int> written;
  for (const OpDef* op : ops::standard_ops().all()) {
    if (op->has(kLeaf) || op->has(kStorage) || op->sample == nullptr) continue;
    // Formulas are alike; numbers take the compiler's time.
    for (int index = 0; index < (op->has(kElementwise) ? 2 : 20); ++index) {
      Rng rng(7, stable_id(op->name) + static_cast<std::uint64_t>(index));
      const auto sample = op->sample(rng, index);
      if (!sample) break;
      std::vector<Sample> samples = {*sample};
      for (Sample& encoded : test::encoded_variants(*op, *sample))
        samples.push_back(std::move(encoded));
      for (const Sample& s : samples) {
        // Layouts are for kernels.
        std::int64_t numbers = 0;
        bool packed = false;
        for (const SampleInput& input : s.inputs) {
          packed = packed || !input.type.encoding.packed_layout().empty();
          numbers += input.type.encoding.is_dense() ? 0 : input.type.shape.numel();
        }
        if (packed || numbers > 6000) continue;
        const test::Case c = test::make_case(*op, s, rng);
        Model model{Graph(ops::standard_ops()), {}, {}, {}};
        const std::vector<Tensor> inputs = stored_inputs(c, model);
        const std::string name = cat("n", runs.size());
        std::vector<TensorType> types;
        try {
          for (const auto& [label, value] : model.graph.outputs()) types.push_back(value.type());
          program.add(c_source(model, {.name = name}), name, inputs, types);
          ++written[std::string(op->name)];
        } catch (const Error& error) {
          EXPECT_NE(std::string(error.what()).find("C"), std::string::npos) << error.what();
          refused[std::string(op->name)] = error.what();
          continue;
        }
        runs.push_back({cat(op->name, " sample ", index), c.reference()});
      }
    }
  }
  const auto results = program.run();
  ASSERT_EQ(results.size(), runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (std::size_t o = 0; o < results[i].size(); ++o) {
      EXPECT_LT(distance(results[i][o], runs[i].wanted[o].v), 2e-5)
          << runs[i].what << ", output " << o;
    }
  }
  // What inference is made of has a form, whatever the sample.
  for (const char* op :
       {"sum",           "max",           "argmax",     "transpose",    "slice",
        "place",         "one_hot",       "upsample2d", "broadcast_to", "sum_to",
        "log_softmax",   "matmul",        "conv2d",     "lstm_scan",    "embedding",
        "softmax",       "concat",        "fused",      "max_pool2d",   "avg_pool2d",
        "sparse_matmul", "sparse_conv2d", "tanh",       "erf",          "batched_matmul"}) {
    EXPECT_GE(written[op], 2) << op;
    if (std::string_view(op) != "lstm_scan") {  // those with masks are for training
      EXPECT_EQ(refused[op], "") << op;
    }
  }
}

// Runs of a network in C, one after another on what is carried, against a frozen plan.
template <class... Compiler>
void expect_agrees(const Model& model, std::int64_t batch, double tolerance,
                   const Compiler&... compiler) {
  CProgram program;
  Rng rng(3, 1);
  const CSource source = c_source(model, {.name = "net", .batch = batch});
  std::vector<Tensor> inputs;
  std::map<std::string, Tensor> by_name;
  for (const Node* node : model.graph.inputs()) {
    const TensorType type = node->types()[0].bind(batch);
    Tensor tensor(type.dtype, type.shape);
    for (std::int64_t i = 0; i < tensor.numel(); ++i)
      set_element(tensor, i,
                  is_floating(type.dtype) ? rng.uniform(-1, 1) : static_cast<double>(rng.below(7)));
    by_name[node->name()] = tensor;
    inputs.push_back(std::move(tensor));
  }
  std::vector<TensorType> types;
  for (const auto& [name, value] : model.graph.outputs()) types.push_back(value.type().bind(batch));
  program.add(source, "net", inputs, types);
  const auto results = program.run(compiler...);
  ASSERT_EQ(results.size(), 1u);
  const auto wanted = compile(model, {.batch = batch}).run(by_name);
  for (std::size_t o = 0; o < types.size(); ++o) {
    const auto& [name, value] = model.graph.outputs()[o];
    std::vector<double> numbers;
    const Tensor& tensor = wanted.at(name);
    for (std::int64_t i = 0; i < tensor.numel(); ++i) numbers.push_back(element(tensor, i));
    EXPECT_LT(distance(results[0][o], numbers), tolerance) << name;
  }
}

// Batch-norm's factors are numbers in the file; shortcuts, padding that drops channels.
TEST(CSource, ResidualNetworkAgreesWithItsPlan) {
  const models::Built built = models::build("resnet20");
  Model model{Graph(ops::standard_ops()), {}, {}, {}};
  nn::Scope scope(model.graph);
  Shape shape{kBatch};
  for (const Dim d : built.sample.dims()) shape.push_back(d);
  model.graph.set_output(
      "logits", built.network->forward(scope, model.graph.input("x", {DType::f32, shape, {}})));
  Rng rng(5, 1);
  for (const Node* node : model.graph.states()) {
    const Shape& s = node->types()[0].shape;
    const double fan = static_cast<double>(s.numel()) / static_cast<double>(s[0].value());
    const float high = s.rank() > 1 ? static_cast<float>(std::sqrt(3 / fan)) : 1.2f;
    model.state.set(node->name(), testing::random_f32(s, s.rank() > 1 ? -high : 0.5f, high, rng));
  }
  expect_agrees(model, 2, 1e-4);
}

TEST(CSource, PackedNetworkIsAsSmallAsItsBits) {
  const Model model = testing::packed_mlp({784, 300, 100, 10}, {.bits = 1}, 2);
  const CSource source = c_source(model, {.name = "lenet300"});
  EXPECT_EQ(source.constant_bytes, 33275 + 24 + 1640);  // indices, entries, biases
  EXPECT_EQ(source.decoded.size(), 0u);
  EXPECT_LT(source.scratch_bytes, 5000);
  expect_agrees(model, 1, 1e-5);
  expect_agrees(model, 5, 1e-5);
}

// Another processor, by emulation.
TEST(CSource, RunsOnAarch64) {
  if (std::system("which aarch64-linux-gnu-gcc qemu-aarch64 > /dev/null 2>&1") != 0)
    GTEST_SKIP() << "gcc-aarch64-linux-gnu or qemu-user is not installed";
  expect_agrees(testing::packed_mlp({40, 30, 10}, {.bits = 3, .group_rows = 7}, 7), 2, 1e-5,
                "aarch64-linux-gnu-gcc -static", "qemu-aarch64");
}

// What takes no codebook gets floats, and the caller is told.
TEST(CSource, SaysWhatItDecodes) {
  Model model{Graph(ops::standard_ops()), {}, {}, {}};
  Rng rng(1, 1);
  const Value w = testing::packed_param(model.graph, model.state, "w", {6, 5}, {.bits = 2}, 4, rng);
  model.graph.set_output("y", model.graph.input("x", f32({6, 5})) * w);
  const CSource source = c_source(model, {.name = "net"});
  ASSERT_EQ(source.decoded.size(), 1u);
  EXPECT_EQ(source.decoded[0], std::pair(std::string("w.indices"), std::int64_t{120}));
  expect_agrees(model, 1, 1e-6);
}

// The state of an LSTM may be written where it was read.
TEST(CSource, CarriedStateMayStayInItsPlace) {
  Model model{Graph(ops::standard_ops()), {}, {}, {}};
  Rng rng(2, 1);
  Graph& g = model.graph;
  const std::int64_t h = 5;
  const Value table = testing::packed_param(g, model.state, "table", {7, h}, {.bits = 3}, 6, rng);
  const Value wx =
      testing::packed_param(g, model.state, "wx", {4 * h, h}, {.bits = 2, .group_rows = 5}, 4, rng);
  const Value wh = testing::packed_param(g, model.state, "wh", {4 * h, h},
                                         {.bits = 1, .scale_block = -1}, 2, rng);
  const Value tokens = g.input("tokens", s32({2, kBatch}));
  const Value h0 = g.input("h", f32({kBatch, h})), c0 = g.input("c", f32({kBatch, h}));
  const Value x = ops::reshape(ops::embedding(table, tokens), Shape{2 * kBatch, h});
  const Value scan =
      g.add(kLstmScan, {ops::reshape(ops::matmul(x, wx, false, true), Shape{2, kBatch, 4 * h}), wh,
                        h0, c0, Value(), Value()})
          .output();
  g.set_output("y", ops::tanh(scan));
  g.set_output("h.next", {scan.node, 1});
  g.set_output("c.next", {scan.node, 2});
  expect_agrees(model, 3, 1e-5);

  // As its own program: two records, the second on the state of the first.
  const testing::TempFolder folder("c_carried");
  const std::string source = (folder / "net.c").string(), out = (folder / "out").string();
  write_file(source, c_source(model, {.name = "net", .batch = 1}).text);
  std::string bytes;
  const std::vector<std::int32_t> records = {1, 2, 6, 0};
  bytes.assign(reinterpret_cast<const char*>(records.data()), 16);
  write_file(folder / "in", bytes);
  const auto shell = [&](const std::string& command) {
    return std::system(cat("cd ", folder.path().string(), " && ", command).c_str());
  };
  ASSERT_EQ(shell("gcc -std=c99 -O1 -Wall -Wextra -Wpedantic -Werror -DNET_MAIN net.c -lm -o net "
                  "&& ./net < in > out"),
            0);
  const std::string written = read_file(out);
  ASSERT_EQ(written.size(), 2 * 2 * static_cast<std::size_t>(h) * sizeof(float));
  RunContext context = compile(model, {.batch = 1}).context();
  for (int r = 0; r < 2; ++r) {
    const Tensor batch = Tensor::from(
        std::vector<std::int32_t>(records.begin() + 2 * r, records.begin() + 2 * r + 2), {2, 1});
    context.bind("tokens", batch);
    context.run();
    Tensor got(DType::f32, {2, 1, h});
    std::memcpy(
        got.data(),
        written.data() + static_cast<std::size_t>(r) * static_cast<std::size_t>(got.bytes()),
        static_cast<std::size_t>(got.bytes()));
    std::vector<double> wanted;
    for (const float v : context.output("y").span<float>()) wanted.push_back(v);
    EXPECT_LT(distance(got, wanted), 1e-5) << "record " << r;
  }
  // A token that the table does not have, and half a record, are errors.
  write_file(folder / "bad", std::string("\x07\0\0\0\0\0\0\0", 8));
  EXPECT_NE(shell("./net < bad > out"), 0);
  write_file(folder / "short", bytes.substr(0, 12));
  EXPECT_NE(shell("./net < short > out 2> error"), 0);
  EXPECT_NE(read_file(folder / "error").find("inside a record"), std::string::npos);
}

// A product cannot be written over its operand, so what is carried moves last of all.
TEST(CSource, CarriedStateIsReadBeforeItIsWritten) {
  Model model{Graph(ops::standard_ops()), {}, {}, {}};
  Rng rng(4, 1);
  const Value w =
      testing::packed_param(model.graph, model.state, "w", {6, 6}, {.bits = 4}, 16, rng);
  const Value x = model.graph.input("x", f32({1, 6})), s = model.graph.input("s", f32({1, 6}));
  model.graph.set_output("s.next", ops::matmul(s, w, false, true) + x);
  const testing::TempFolder folder("c_state");
  write_file(folder / "net.c", c_source(model, {.name = "net"}).text);
  // The state itself is no output: a second program prints it.
  write_file(folder / "main.c",
             "#include \"net.c\"\n#include <stdio.h>\nint main(void) {\n"
             "  float x[6] = {1, 2, 3, 4, 5, 6}, s[6] = {6, 5, 4, 3, 2, 1};\n"
             "  double work[NET_SCRATCH_BYTES / 8 + 1];\n"
             "  if (net_run(x, s, s, work)) return 1;\n"
             "  return fwrite(s, 4, 6, stdout) != 6;\n}\n");
  ASSERT_EQ(std::system(cat("cd ", folder.path().string(),
                            " && gcc -std=c99 -O1 -Wall -Werror main.c -lm -o net && ./net > out")
                            .c_str()),
            0);
  const std::string written = read_file(folder / "out");
  Tensor got(DType::f32, {1, 6});
  ASSERT_EQ(written.size(), 24u);
  std::memcpy(got.data(), written.data(), 24);
  const auto results =
      compile(model).run({{"x", Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {1, 6})},
                          {"s", Tensor::from(std::vector<float>{6, 5, 4, 3, 2, 1}, {1, 6})}});
  std::vector<double> wanted;
  for (const float v : results.at("s.next").span<float>()) wanted.push_back(v);
  EXPECT_LT(distance(got, wanted), 1e-5);
}

// Every state may lie where it was, whatever the next one is made of: other states, the inputs, and
// outputs that read them.
TEST(CSource, CarriedStatesThatAreInputs) {
  Model model{Graph(ops::standard_ops()), {}, {}, {}};
  Graph& g = model.graph;
  const Value x = g.input("x", f32({1, 2})), a = g.input("a", f32({1, 2})),
              b = g.input("b", f32({1, 2})), other = g.input("other", f32({1, 2}));
  g.set_output("a.next", b);
  g.set_output("b.next", a);
  g.set_output("y", ops::reshape(a, Shape{2}));
  g.set_output("other.next", ops::concat({other, x}, 1));  // another type: it is not carried
  const testing::TempFolder folder("c_states");
  const std::string text = c_source(model, {.name = "net"}).text;
  write_file(folder / "net.c", text);
  write_file(
      folder / "main.c",
      "#include \"net.c\"\n#include <stdio.h>\nint main(void) {\n"
      "  float x[2] = {1, 2}, a[2] = {3, 4}, b[2] = {5, 6}, o[2] = {7, 8}, y[2], n[4];\n"
      "  double work[NET_SCRATCH_BYTES / 8 + 1];\n"
      "  if (net_run(x, a, b, o, a, b, y, n, work)) return 1;\n"
      "  printf(\"%g %g %g %g %g %g %g %g\", a[0], a[1], b[0], b[1], y[0], y[1], n[0], n[3]);\n"
      "  return 0;\n}\n");
  ASSERT_EQ(std::system(cat("cd ", folder.path().string(),
                            " && gcc -fsanitize=address,undefined -std=c99 -O1 -Wall -Werror "
                            "main.c -lm -o net && ./net > out && "
                            "gcc -fsanitize=address,undefined -std=c99 -O1 -DNET_MAIN net.c -lm "
                            "-o own && head -c 32 /dev/zero | ./own > /dev/null")
                            .c_str()),
            0)
      << text;
  EXPECT_EQ(read_file(folder / "out"), "5 6 3 4 3 4 7 2");
}

std::string refusal(const Model& model, const std::string& name = "net") {
  try {
    c_source(model, {.name = name});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(CSource, RefusesAllAtOnce) {
  Model model{Graph(ops::standard_ops()), {}, {}, {}};
  Graph& g = model.graph;
  const Value step = g.input("step", {DType::s64, {}, {}});
  const Value x = g.input("x", f32({4}));
  g.set_output("noise",
               ops::uniform(step, step, Shape{4}, 1) + ops::uniform(step, step, Shape{4}, 2));
  g.set_output("rounded", ops::cast(x, DType::u8));
  const std::string message = refusal(model);
  EXPECT_NE(message.find("uniform (has no form in C): 2 nodes"), std::string::npos) << message;
  EXPECT_NE(message.find("cast (from f32 to u8): 1 node"), std::string::npos) << message;
  EXPECT_NE(refusal(testing::small_model(), "7up").find("n7up would be one"), std::string::npos);
  Model training{testing::awkward_graph(), {}, {}, {}};
  EXPECT_NE(refusal(training).find("updates state"), std::string::npos);
}

TEST(CSource, NamesAreIdentifiers) {
  EXPECT_EQ(c_identifier("lenet-5 (s1)"), "lenet_5_s1");
  EXPECT_EQ(c_identifier("3d"), "n3d");
  EXPECT_EQ(c_identifier("*/"), "n");
  // Names of inputs that C, or the file itself, uses for something else.
  Model model{Graph(ops::standard_ops()), {}, {}, {}};
  Value sum = model.graph.input("x", f32({3}));
  for (const char* name : {"float", "scratch", "buffer", "net_x", "x!", "X", "tessera_t3",
                           "int32_t", "expf", "i0", "a0", "memset"})
    sum = sum + ops::exp(model.graph.input(name, f32({3})));
  model.graph.set_output("*/ x", sum);
  expect_agrees(model, 1, 1e-5);
}

TEST(CSource, LiteralsAreExact) {
  for (const float value : {0.1f, -0.0f, 1e-45f, 3.4e38f, 16777216.f, 1.f})
    EXPECT_EQ(std::strtof(c_literal(value).c_str(), nullptr), value) << c_literal(value);
  EXPECT_EQ(c_literal(1), "1.f");
  EXPECT_EQ(c_literal(-INFINITY), "-INFINITY");
}

}  // namespace
}  // namespace tessera
