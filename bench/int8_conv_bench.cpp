// Convolutions in integers beside exact ones, layer by layer, with the rows that selection takes
// for blocked images: int8_conv_bench [LAYERS [BITS,... [BATCH,...]]], where LAYERS is a word of
// the list below (resnet18, ...) or C,OUT,SIZE,KERNEL,STRIDE. The floor is the products at the rate
// of dot products (128 operations of 64 bytes), measured at the start. TESSERA_THREADS sets the
// threads.
#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "core/tensor.h"
#include "core/text.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/conv/conv.h"
#include "ops/conv/rows.h"
#include "ops/layout/layout.h"
#include "ops/op_list.h"

namespace tessera {
namespace {

struct Layer {
  std::int64_t c, out, size, kernel, stride;
};
const std::map<std::string, std::vector<Layer>> kLayers = {
    {"lenet5", {{1, 20, 28, 5, 1}, {20, 50, 12, 5, 1}}},
    {"resnet20",
     {{3, 16, 32, 3, 1},
      {16, 16, 32, 3, 1},
      {16, 32, 32, 3, 2},
      {32, 32, 16, 3, 1},
      {32, 64, 16, 3, 2},
      {64, 64, 8, 3, 1},
      {16, 32, 32, 1, 2}}},
    {"vgg16",
     {{3, 64, 32, 3, 1},
      {64, 64, 32, 3, 1},
      {64, 128, 16, 3, 1},
      {128, 128, 16, 3, 1},
      {256, 256, 8, 3, 1},
      {512, 512, 4, 3, 1},
      {512, 512, 2, 3, 1}}},
    {"resnet18",
     {{3, 64, 224, 7, 2},
      {64, 64, 56, 3, 1},
      {64, 128, 56, 3, 2},
      {64, 128, 56, 1, 2},
      {128, 128, 28, 3, 1},
      {128, 256, 28, 3, 2},
      {256, 256, 14, 3, 1},
      {256, 512, 14, 3, 2},
      {512, 512, 7, 3, 1}}},
    {"mobilenetv2",
     {{3, 32, 224, 3, 2},
      {32, 16, 112, 1, 1},
      {16, 96, 112, 1, 1},
      {96, 24, 56, 1, 1},
      {24, 144, 56, 1, 1},
      {144, 32, 28, 1, 1},
      {32, 192, 28, 1, 1},
      {192, 64, 14, 1, 1},
      {64, 384, 14, 1, 1},
      {384, 96, 14, 1, 1},
      {96, 576, 14, 1, 1},
      {576, 160, 7, 1, 1},
      {160, 960, 7, 1, 1},
      {960, 320, 7, 1, 1},
      {320, 1280, 7, 1, 1}}}};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

__attribute__((target("avx512f,avx512vnni"))) double dot_products() {
  __m512i sum[16];
  for (int i = 0; i < 16; ++i) sum[i] = _mm512_set1_epi32(i);
  const __m512i x = _mm512_set1_epi8(3);
  constexpr int kSteps = 20000;
  for (int s = 0; s < kSteps; ++s)
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], x, x);
  __m512i all = sum[0];
  for (int i = 1; i < 16; ++i) all = _mm512_add_epi32(all, sum[i]);
  int kept[16];
  _mm512_storeu_si512(kept, all);
  benchmark::DoNotOptimize(kept);
  return 16.0 * kSteps;
}
// Operations a second of one thread; 0 without AVX-512 VNNI.
double dot_rate() {
  if (!active_features().includes(kAvx512 | kVnni)) return 0;
  double best = 0;
  for (int i = 0; i < 50; ++i) {
    const double start = now(), count = dot_products();
    best = std::max(best, 128 * count / (now() - start));
  }
  return best;
}

Tensor random_bytes(std::int64_t bytes, std::uint64_t seed) {
  Tensor out(DType::u8, {bytes});
  Rng rng(1, seed);
  for (std::uint8_t& b : out.span<std::uint8_t>()) b = static_cast<std::uint8_t>(rng.below(256));
  return out;
}
Tensor random_floats(std::int64_t n, std::uint64_t seed) {
  Tensor out(DType::f32, {n});
  Rng rng(1, seed);
  for (float& v : out.span<float>()) v = rng.uniform(-1.0f, 1.0f);
  return out;
}

// A convolution on blocked images, with the first row that serves it.
class Conv {
 public:
  Conv(const Layer& l, std::int64_t batch, int bits, bool int8)
      : graph_(ops::standard_ops()), fixed_{false, true} {
    TensorType x{DType::f32, {batch, l.c, l.size, l.size}, {}};
    if (l.c >= 16 && active_features().includes(kAvx512)) x.encoding = blocked_encoding(x.shape);
    const Shape shape{l.out, l.c, l.kernel, l.kernel};
    Value weight = graph_.param("w", {DType::f32, shape, {}});
    x_ = random_floats(blocked_numel(x.shape), 1);
    if (bits > 0) {
      const CodebookFormat format{.bits = bits};
      const std::int64_t k = std::int64_t{1} << bits;
      weight = ops::codebook(graph_.param("i", {DType::u8, format.indices_shape(shape), {}}),
                             graph_.param("e", {DType::f32, {1, k}, {}}), {}, format, shape);
      weight_ = {random_bytes(format.indices_shape(shape).numel(), 2), random_floats(k, 3)};
    } else {
      weight_ = {random_floats(shape.numel(), 2)};
    }
    const std::int64_t pad = l.size == 28 && l.c == 1 ? 0 : l.kernel / 2;
    const Value y = ops::conv2d(graph_.input("x", x), weight,
                                {.stride = {l.stride, l.stride}, .padding = {pad, pad, pad, pad}});
    const KernelQuery query{*y.node, active_features(), num_threads(), fixed_, false, int8};
    for (const KernelRow& row : conv2d_rows()) {
      if (!active_features().includes(row.needs) || !row.refuses(query).empty()) continue;
      name = row.name;
      plan_ = row.prepare(query);
      break;
    }
    inputs_ = {planes({x_}), planes(weight_)};
    for (std::size_t i = 0; i < std::min<std::size_t>(plan_.packs.size(), 2); ++i) {
      if (!plan_.packs[i]) continue;
      const TensorType& type = y.node->input(static_cast<int>(i)).type();
      const auto& pack = *plan_.packs[i];
      packed_[i] = Tensor(DType::u8, {pack.encoding.planes(type.dtype, type.shape)[0].bytes()});
      const BufferRef to = planes({packed_[i]});
      const auto scratch = allocate(pack.scratch_bytes);
      pack.pack({{&inputs_[i], 1}, {&to, 1}, scratch.get()});
      inputs_[i] = to;
    }
    flops = conv_geometry(*y.node).flops();
    y_ = Tensor(DType::f32, {blocked_numel(y.node->types()[0].shape)});
    output_ = planes({y_});
    scratch_ = allocate(plan_.scratch_bytes);
  }
  double run() {
    const double start = now();
    plan_.run({inputs_, {&output_, 1}, scratch_.get()});
    return now() - start;
  }

  std::string name;
  double flops = 0;

 private:
  static BufferRef planes(std::vector<Tensor> tensors) {
    BufferRef out;
    for (std::size_t p = 0; p < tensors.size(); ++p) out.plane[p] = tensors[p].data();
    return out;
  }

  Graph graph_;
  bool fixed_[2];
  std::vector<Tensor> weight_;
  Tensor x_, y_, packed_[2];
  std::vector<BufferRef> inputs_;
  BufferRef output_;
  KernelPlan plan_;
  std::shared_ptr<std::byte[]> scratch_;
};

void compare(const Layer& l, std::int64_t batch, const std::vector<std::int64_t>& bits,
             double rate) {
  std::vector<std::unique_ptr<Conv>> convs;
  convs.push_back(std::make_unique<Conv>(l, batch, 0, false));
  for (const std::int64_t b : bits) {
    for (const bool int8 : {false, true})
      convs.push_back(std::make_unique<Conv>(l, batch, static_cast<int>(b), int8));
  }
  std::vector<double> least(convs.size(), 1e9);
  const double begin = now();
  for (int round = 0; round < 2000 && (round < 4 || now() - begin < 0.4); ++round) {
    for (std::size_t i = 0; i < convs.size(); ++i) {
      convs[i]->run();  // caches hot, as far as they reach
      least[i] = std::min({least[i], convs[i]->run(), convs[i]->run()});
    }
  }
  const double floor = rate > 0 ? convs[0]->flops / rate / num_threads() : 0;
  std::printf("%5lld->%-4lld %3lld k%lld s%lld n%-3lld floor %9.1f dense %9.1f",
              static_cast<long long>(l.c), static_cast<long long>(l.out),
              static_cast<long long>(l.size), static_cast<long long>(l.kernel),
              static_cast<long long>(l.stride), static_cast<long long>(batch), floor * 1e6,
              least[0] * 1e6);
  for (std::size_t i = 1; i + 1 < convs.size(); i += 2)
    std::printf(" | %lld bits: exact %9.1f int8 %9.1f share %.2f %s",
                static_cast<long long>(bits[i / 2]), least[i] * 1e6, least[i + 1] * 1e6,
                floor / least[i + 1], convs[i + 1]->name.starts_with("conv2d_s8") ? "" : "(exact)");
  std::printf("\n");
  std::fflush(stdout);
}

std::vector<std::int64_t> numbers(const char* text) {
  std::vector<std::int64_t> out;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) out.push_back(std::stoll(part));
  return out;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  const auto given = [&](int i, const char* usual) { return argc > i ? argv[i] : usual; };
  const std::string which = given(1, "resnet18");
  std::vector<Layer> layers;
  if (const auto known = kLayers.find(which); known != kLayers.end()) {
    layers = known->second;
  } else {
    const auto n = numbers(which.c_str());
    if (n.size() != 5) return 2;
    layers = {{n[0], n[1], n[2], n[3], n[4]}};
  }
  const double rate = dot_rate();
  std::printf("%s, %d threads, dot products %.0f GOP/s a thread; microseconds, the least\n",
              text(active_features()).c_str(), num_threads(), rate * 1e-9);
  for (const std::int64_t batch : numbers(given(3, "1,32"))) {
    for (const Layer& layer : layers) compare(layer, batch, numbers(given(2, "4")), rate);
  }
}
