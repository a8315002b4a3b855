#include "apps/tessera/kernel_cases.h"

#include <algorithm>
#include <set>

#include "apps/cli/parse.h"
#include "core/error.h"
#include "core/op_def.h"
#include "core/text.h"
#include "models/zoo.h"
#include "nn/evaluator.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/conv/conv.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "ops/recurrent/lstm.h"

namespace tessera::apps {

namespace {

constexpr std::int64_t kMost = 1 << 16;  // of a number in a word

Value weight_of(Graph& graph, const Shape& shape, int bits) {
  if (bits == 0) return graph.param("w", {DType::f32, shape, {}});
  const CodebookFormat format{.bits = bits};
  return ops::codebook(
      graph.param("w.indices", {DType::u8, format.indices_shape(shape), {}}),
      graph.param("w.entries", {DType::f32, format.entries_shape(shape, format.max_entries()), {}}),
      {}, format, shape);
}

Graph build_matmul(const KernelCase& kernel, std::int64_t batch, int bits) {
  const auto& n = kernel.numbers;  // out, in
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", {DType::f32, {batch, n[1]}, {}});
  graph.set_output("y", ops::matmul(x, weight_of(graph, {n[0], n[1]}, bits), false, true));
  return graph;
}

KernelCase matmul(std::int64_t out, std::int64_t in) {
  return {cat("matmul ", out, "x", in), "matmul", build_matmul, {out, in}};
}

// c, out, height, width, kernel height, width, stride down, right, top, left, bottom, right,
// groups, dilation down, right
using ConvNumbers = std::vector<std::int64_t>;

Graph build_conv(const KernelCase& kernel, std::int64_t batch, int bits) {
  const auto& n = kernel.numbers;
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", {DType::f32, {batch, n[0], n[2], n[3]}, {}});
  const Value w = weight_of(graph, {n[1], n[0] / n[12], n[4], n[5]}, bits);
  graph.set_output("y", ops::conv2d(x, w,
                                    {.stride = {n[6], n[7]},
                                     .dilation = {n[13], n[14]},
                                     .padding = {n[8], n[9], n[10], n[11]},
                                     .groups = n[12]}));
  return graph;
}

KernelCase conv(const ConvNumbers& n) {
  std::string name = cat("conv ", n[0], "->", n[1], " ", n[2], "x", n[3], " k", n[4]);
  if (n[4] != n[5]) name += cat("x", n[5]);
  name += cat(" s", n[6]);
  if (n[12] != 1) name += cat(" g", n[12]);
  if (n[13] != 1) name += cat(" d", n[13]);
  const std::int64_t usual = n[4] / 2;
  if (n[8] != usual || n[9] != usual || n[10] != usual || n[11] != usual)
    name += cat(" p", n[8], ",", n[9], ",", n[10], ",", n[11]);
  return {name, "conv2d", build_conv, n};
}

Graph build_lstm(const KernelCase& kernel, std::int64_t batch, int bits) {
  const std::int64_t units = kernel.numbers[0], steps = kernel.numbers[1];
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", {DType::f32, {steps, batch, 4 * units}, {}});
  const Value h = graph.input("h", {DType::f32, {batch, units}, {}});
  const Value c = graph.input("c", {DType::f32, {batch, units}, {}});
  const Value r = weight_of(graph, {4 * units, units}, bits);
  graph.set_output("y", ops::lstm_scan(x, r, h, c).h);
  return graph;
}

KernelCase lstm(std::int64_t units, std::int64_t steps) {
  return {cat("lstm ", units, " T", steps), "lstm_scan", build_lstm, {units, steps}};
}

// The convolutions of a network, each shape once.
std::vector<KernelCase> convs_of(const std::string& network, std::set<std::string>& seen) {
  const models::Built built = models::build(network);
  const Graph graph = specialize(nn::inference_graph(*built.network, built.sample), 1);
  std::vector<KernelCase> out;
  for (const Node& node : graph.nodes()) {
    if (&node.op() != &kConv2d) continue;
    const ConvGeometry g = conv_geometry(node);
    KernelCase kernel = conv({g.c, g.out, g.h, g.w, g.kh, g.kw, g.stride_h, g.stride_w, g.top,
                              g.left, g.bottom, g.right, g.groups, g.dilation_h, g.dilation_w});
    if (seen.insert(kernel.name).second) out.push_back(std::move(kernel));
  }
  return out;
}

// The numbers behind "conv:" or of "OUTxIN".
std::vector<std::int64_t> numbers(const std::string& text, const std::string& word,
                                  std::size_t least, std::size_t most) {
  std::vector<std::int64_t> out = integer_list(text, word, 1, kMost);
  check(out.size() >= least && out.size() <= most, word, ": expected ", least,
        least == most ? "" : cat(" to ", most), " numbers, got ", out.size());
  return out;
}

bool is_product(const std::string& word) {
  return !word.empty() && word.find('x') != word.npos &&
         word.find_first_not_of("0123456789x") == word.npos;
}

}  // namespace

std::vector<KernelCase> kernel_cases(const std::string& word) {
  std::vector<KernelCase> out;
  if (word == "squares") {
    for (std::int64_t n = 256; n <= 8192; n *= 2) out.push_back(matmul(n, n));
    return out;
  }
  if (word == "odd") {
    for (const auto& [rows, columns] : std::initializer_list<std::pair<int, int>>{{10, 100},
                                                                                  {33, 65},
                                                                                  {100, 300},
                                                                                  {257, 255},
                                                                                  {300, 784},
                                                                                  {999, 1001},
                                                                                  {1000, 2047},
                                                                                  {4095, 4097}})
      out.push_back(matmul(rows, columns));
    return out;
  }
  if (word == "lstm") return {lstm(200, 20), lstm(650, 35), lstm(1500, 35)};
  std::set<std::string> seen;
  if (word == "zoo") {
    for (const std::string& name : models::names()) {
      for (KernelCase& kernel : convs_of(name, seen)) out.push_back(std::move(kernel));
    }
    return out;
  }
  if (word.starts_with("conv:")) {
    const auto n = numbers(word.substr(5), word, 5, 6);
    const std::int64_t groups = n.size() == 6 ? n[5] : 1, pad = n[3] / 2;
    return {
        conv({n[0], n[1], n[2], n[2], n[3], n[3], n[4], n[4], pad, pad, pad, pad, groups, 1, 1})};
  }
  if (word.starts_with("lstm:")) {
    const auto n = numbers(word.substr(5), word, 2, 2);
    return {lstm(n[0], n[1])};
  }
  if (is_product(word)) {
    std::string list = word;
    std::replace(list.begin(), list.end(), 'x', ',');
    const auto n = numbers(list, word, 2, 2);
    return {matmul(n[0], n[1])};
  }
  const auto known = models::names();
  if (std::find(known.begin(), known.end(), word) == known.end())
    fail("shapes: ", Quoted{word},
         " is unknown; use squares, odd, lstm, zoo, a network of the zoo (", listed(known, " or "),
         "), OUTxIN, conv:C,OUT,SIZE,KERNEL,STRIDE[,GROUPS] or lstm:UNITS,STEPS");
  return convs_of(word, seen);
}

}  // namespace tessera::apps
