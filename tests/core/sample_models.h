// Models for the tests of files: small enough to read, and of every kind of node.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "core/model.h"
#include "core/op_def.h"
#include "core/rng.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"

namespace tessera::testing {

// A folder of this test process that is removed at the end.
class TempFolder {
 public:
  explicit TempFolder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / cat("tessera_", name, "_", ::getpid())) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  TempFolder(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// Random indices below k, packed.
inline Tensor random_indices(const CodebookFormat& format, const Shape& shape, std::int64_t k,
                             Rng& rng) {
  Tensor out(DType::u8, format.indices_shape(shape));
  auto stream = out.span<std::uint8_t>();
  for (std::int64_t i = 0; i < format.index_count(shape); ++i) {
    const std::uint64_t index = rng.below(static_cast<std::uint64_t>(k));
    for (int b = 0; b < format.bits; ++b) {
      const std::int64_t bit = i * format.bits + b;
      stream[static_cast<std::size_t>(bit / 8)] |=
          static_cast<std::uint8_t>((index >> b & 1) << (bit % 8));
    }
  }
  return out;
}

inline Tensor random_f32(const Shape& shape, float low, float high, Rng& rng) {
  Tensor out(DType::f32, shape);
  for (float& value : out.span<float>()) value = rng.uniform(low, high);
  return out;
}

// A codebook parameter in graph and state.
inline Value packed_param(Graph& graph, State& state, const std::string& name, const Shape& shape,
                          const CodebookFormat& format, std::int64_t k, Rng& rng) {
  const auto plane = [&](const char* suffix, Tensor tensor) {
    state.set(name + suffix, tensor);
    return graph.param(name + suffix, {tensor.dtype(), tensor.shape(), {}});
  };
  const Value indices = plane(".indices", random_indices(format, shape, k, rng));
  const Value entries =
      plane(".entries", random_f32(format.entries_shape(shape, k), -0.1f, 0.1f, rng));
  Value scale;
  if (format.scale_block != 0) {
    scale = plane(".scale", random_f32(format.scale_shape(shape), 0.5f, 2.0f, rng));
  }
  return ops::codebook(indices, entries, scale, format, shape);
}

inline Value dense_param(Graph& graph, State& state, const std::string& name, const Shape& shape,
                         Rng& rng) {
  state.set(name, random_f32(shape, -0.1f, 0.1f, rng));
  return graph.param(name, {DType::f32, shape, {}});
}

// A multilayer perceptron whose weights are codebooks; widths {784, 300, 100, 10} is LeNet-300-100.
inline Model packed_mlp(const std::vector<std::int64_t>& widths, const CodebookFormat& format,
                        std::int64_t k) {
  Model model{Graph(ops::standard_ops()), {}, {{"method", "random"}, {"seed", "1"}}};
  Rng rng(1, 1);
  Value x = model.graph.input("x", f32({kBatch, widths[0]}));
  for (std::size_t i = 1; i < widths.size(); ++i) {
    const std::string name = cat("fc", i);
    const Value w = packed_param(model.graph, model.state, name + ".weight",
                                 {widths[i], widths[i - 1]}, format, k, rng);
    const Value b = dense_param(model.graph, model.state, name + ".bias", {widths[i]}, rng);
    x = ops::linear(x, w, b);
    if (i + 1 < widths.size()) x = ops::tanh(x);
  }
  model.graph.set_output("logits", x);
  return model;
}

inline Model small_model() {
  return packed_mlp({6, 4, 3}, {.bits = 3, .group_rows = 2, .scale_block = 4}, 5);
}

// Updates, states, several results, absent inputs, infinite constants and awkward names.
inline Graph awkward_graph() {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({kBatch, 4}));
  const Value w = graph.param("a \"quoted\" name\\ with\nbreaks", f32({4}));
  const Value step = graph.state("step", {DType::s64, {}, {}});
  const Value low = graph.constant(-std::numeric_limits<double>::infinity());
  const Value tiny = graph.constant(0.1 + 0.2, f32({4}));
  const Value y = ops::maximum(ops::tanh(x * w), low) + tiny;
  const Node& pair = graph.add(
      kFused, {x, w},
      {{"program", ProgramRef(parse_program(graph.ops(), "t0=add(a0,a1);t1=tanh(t0)->t0,t1"))}},
      "pair # 1");
  const Value noise = ops::uniform(step, step, Shape{4}, -6148914691236517206);
  graph.set_output("y", y);
  graph.set_output("second \"result\"", pair.output(1));
  graph.set_update(w, w + noise);
  graph.set_update(step, step);
  return graph;
}

// A graph of one op from its own sample; an absent input stays absent.
inline Graph sample_graph(const OpDef& op, const Sample& sample) {
  Graph graph(ops::standard_ops());
  std::vector<Value> inputs;
  for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
    const SampleInput& input = sample.inputs[i];
    inputs.push_back(input.absent ? Value() : graph.input(cat("in", i), input.type));
  }
  const Node& node = graph.add(op, inputs, sample.attrs);
  for (int i = 0; i < static_cast<int>(node.types().size()); ++i) {
    graph.set_output(cat("out", i), node.output(i));
  }
  return graph;
}

}  // namespace tessera::testing
