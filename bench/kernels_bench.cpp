// CPU kernels against what the machine allows: f32 GEMM at the shapes of LeNet-300 training (oneDNN
// beside it), codebook products, decoding and gradients. Peak FMA rate and read bandwidth are
// measured at the start of the same run; rates come from the median time of an iteration.
//   floor = max(operations / FMA peak, vector instructions / 2 FMA peak, bytes / bandwidth)
// "of_peak" is the share of the FMA peak, "of_floor" the floor's share of the time. TESSERA_THREADS
// sets the threads.
#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <dnnl.hpp>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/cpu.h"
#include "core/parallel.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/decode.h"
#include "ops/matmul/gemm.h"

namespace tessera {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// 64-byte aligned memory, touched.
template <class T>
class Array {
 public:
  explicit Array(size_t n) : memory_(n * sizeof(T) + 64) {}
  T* data() {
    void* p = memory_.data();
    size_t space = memory_.size();
    return static_cast<T*>(std::align(64, memory_.size() - 64, p, space));
  }

 private:
  std::vector<char> memory_;
};

Array<float> random_floats(size_t n) {
  Array<float> out(n);
  std::mt19937 rng(1);
  for (size_t i = 0; i < n; ++i) out.data()[i] = static_cast<float>(rng() % 2001) / 1000.0f - 1.0f;
  return out;
}

// FLOP of a run of independent multiply-adds.
__attribute__((target("avx512f"))) double fma_avx512() {
  __m512 acc[16];
  for (int i = 0; i < 16; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  constexpr int kSteps = 100000;
  for (int s = 0; s < kSteps; ++s)
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) acc[i] = _mm512_fmadd_ps(acc[i], x, y);
  for (int i = 1; i < 16; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  benchmark::DoNotOptimize(acc[0]);
  return 32.0 * 16 * kSteps;
}

__attribute__((target("avx2,fma"))) double fma_avx2() {
  __m256 acc[12];
  for (int i = 0; i < 12; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  constexpr int kSteps = 100000;
  for (int s = 0; s < kSteps; ++s)
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) acc[i] = _mm256_fmadd_ps(acc[i], x, y);
  for (int i = 1; i < 12; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  benchmark::DoNotOptimize(acc[0]);
  return 16.0 * 12 * kSteps;
}

int vector_floats() {
  return active_features().includes(kAvx512) ? 16 : 8;
}

// What one thread's FMA units give, summed over the threads running together; best of several.
double measure_peak() {
  std::vector<double> best(num_threads());
  parallel_parts(num_threads(), [&](int64_t part) {
    for (int repeat = 0; repeat < 30; ++repeat) {
      const double start = seconds();
      const double flop = vector_floats() == 16 ? fma_avx512() : fma_avx2();
      best[part] = std::max(best[part], flop / (seconds() - start));
    }
  });
  double sum = 0;
  for (double b : best) sum += b;
  return sum;
}

// Bytes a second of reading `bytes` over and over, all threads together; best of several.
double measure_read(size_t bytes) {
  Array<float> memory(bytes / sizeof(float));
  const int64_t n = static_cast<int64_t>(bytes / 64), parts = num_threads();
  double best = 0;
  for (int repeat = 0; repeat < 8; ++repeat) {
    const double start = seconds();
    parallel_parts(parts, [&](int64_t part) {
      __m128 sum[4] = {};
      for (int64_t i = n * part / parts; i < n * (part + 1) / parts; ++i)
        for (int j = 0; j < 4; ++j)
          sum[j] = _mm_add_ps(sum[j], _mm_load_ps(memory.data() + 16 * i + 4 * j));
      benchmark::DoNotOptimize(sum);
    });
    best = std::max(best, static_cast<double>(bytes) / (seconds() - start));
  }
  return best;
}

struct Limits {
  double flops = measure_peak();
  double hot = measure_read(4 << 20), cold = measure_read(256 << 20);
};
const Limits& limits() {
  static const Limits measured;
  return measured;
}

struct Work {
  double flop = 0;
  double instructions = 0;  // vector instructions, 4 a cycle where there are 2 FMA
  double bytes = 0;
  bool cold = false;
};

template <class F>
void measure(benchmark::State& state, const Work& work, F&& run) {
  std::vector<double> times;
  run();
  for (auto _ : state) {
    const double start = seconds();
    run();
    const double time = seconds() - start;
    state.SetIterationTime(time);
    times.push_back(time);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  const double median = times[times.size() / 2];
  const Limits& l = limits();
  const double instruction_rate = 2 * l.flops / (2 * vector_floats());
  const double floor = std::max({work.flop / l.flops, work.instructions / instruction_rate,
                                 work.bytes / (work.cold ? l.cold : l.hot)});
  state.counters["median_us"] = median * 1e6;
  state.counters["GB/s"] = work.bytes / median * 1e-9;
  if (work.flop > 0) {
    state.counters["GFLOP/s"] = work.flop / median * 1e-9;
    state.counters["of_peak"] = work.flop / median / l.flops;
  }
  state.counters["of_floor"] = floor / median;
}

struct Shape {
  const char* name;
  int64_t m, n, k;
  GemmB b;
  bool transposed_a;
};

Work gemm_work(const Shape& s) {
  const double m = static_cast<double>(s.m), n = static_cast<double>(s.n);
  const double k = static_cast<double>(s.k);
  return {2 * m * n * k, 0, 4 * (m * k + n * k + m * n)};
}

void gemm(benchmark::State& state, const Shape& s) {
  Array<float> a = random_floats(s.m * s.k), b = random_floats(s.n * s.k);
  Array<float> c(s.m * s.n), panels(panel_bytes(s.n, s.k) / sizeof(float));
  const GemmPlan plan =
      prepare_gemm({s.m, s.n, s.k, s.b, false, 0}, active_features(), num_threads());
  Array<char> scratch(plan.scratch_bytes);
  GemmArgs args;
  args.a = a.data();
  args.a_rs = s.transposed_a ? 1 : s.k;
  args.a_cs = s.transposed_a ? s.m : 1;
  args.b = b.data();
  args.ldb = s.b == GemmB::kRows ? s.n : s.k;
  if (s.b == GemmB::kPanels) {
    pack_panels(active_features(), GemmB::kColumns, s.n, s.k, b.data(), s.k, panels.data());
    args.b = panels.data();
  }
  args.c = c.data();
  args.ldc = s.n;
  measure(state, gemm_work(s), [&] { run_gemm(plan, args, scratch.data()); });
}

void onednn(benchmark::State& state, const Shape& s) {
  using dnnl::memory;
  Array<float> a = random_floats(s.m * s.k), b = random_floats(s.n * s.k), c(s.m * s.n);
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto f32 = memory::data_type::f32;
  const bool packed = s.b == GemmB::kPanels;
  const memory::desc da({s.m, s.k}, f32,
                        s.transposed_a ? memory::dims{1, s.m} : memory::dims{s.k, 1});
  const memory::desc plain({s.k, s.n}, f32,
                           s.b == GemmB::kRows ? memory::dims{s.n, 1} : memory::dims{1, s.k});
  const memory::desc any({s.k, s.n}, f32, memory::format_tag::any);
  const memory::desc dc({s.m, s.n}, f32, memory::dims{s.n, 1});
  const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(da, packed ? any : plain, dc), engine);
  const dnnl::matmul product(pd);
  memory ma(da, engine, a.data()), mb(plain, engine, b.data()), mc(dc, engine, c.data());
  memory blocked = mb;
  if (packed) {
    blocked = memory(pd.weights_desc(), engine);
    dnnl::reorder(mb, blocked).execute(stream, mb, blocked);
  }
  const std::unordered_map<int, memory> args{
      {DNNL_ARG_SRC, ma}, {DNNL_ARG_WEIGHTS, blocked}, {DNNL_ARG_DST, mc}};
  measure(state, gemm_work(s), [&] {
    product.execute(stream, args);
    stream.wait();
  });
}

// `copies` weights used in turn: more than the caches hold when cold.
struct Weights {
  Weights(int bits, int64_t rows, int64_t cols, int64_t count) : entries(random_floats(256)) {
    std::mt19937 rng(2);
    for (int64_t i = 0; i < count; ++i) {
      CodebookView v;
      v.bits = bits;
      v.k = 1 << bits;
      v.rows = rows;
      v.cols = cols;
      Array<uint8_t> plane(codebook_index_bytes(v));
      for (int64_t b = 0; b < codebook_index_bytes(v); ++b)
        plane.data()[b] = static_cast<uint8_t>(rng());
      planes.push_back(std::move(plane));
      v.indices = planes.back().data();
      v.entries = entries.data();
      views.push_back(v);
    }
  }
  Array<float> entries;
  std::vector<Array<uint8_t>> planes;
  std::vector<CodebookView> views;
};

// y[m, n] = x[m, k] W^T with W packed (small batches in registers) or in logical order.
void codebook(benchmark::State& state, int bits, int64_t m, int64_t n, int64_t k, bool packed,
              bool cold) {
  const double bytes_each = static_cast<double>(n * k * bits) / 8;
  const int64_t copies = cold ? 1 + static_cast<int64_t>(256e6 / bytes_each) : 1;
  Weights w(bits, n, k, copies);
  std::vector<Array<char>> forms;
  for (const CodebookView& v : w.views) {
    if (!packed) break;
    forms.emplace_back(packed_bytes(v));
    repack_codebook(v, active_features(), forms.back().data());
  }
  const CodebookMatmulPlan plan = prepare_codebook_matmul({m, w.views[0], false, packed, false},
                                                          active_features(), num_threads());
  Array<char> scratch(plan.scratch_bytes);
  Array<float> x = random_floats(m * k), y(m * n);
  CodebookMatmulArgs args;
  args.x = x.data();
  args.x_rs = k;
  args.y = y.data();
  args.ldy = n;
  const double vectors = static_cast<double>(n * k) / vector_floats();
  const double passes = plan.registers ? static_cast<double>((m + 7) / 8) : 1.0;
  Work work{2.0 * m * n * k, vectors * (2 * passes + m), bytes_each, cold};
  int64_t turn = 0;
  state.SetLabel(plan.method);
  measure(state, work, [&] {
    args.view = w.views[turn];
    args.packed = packed ? forms[turn].data() : nullptr;
    turn = (turn + 1) % copies;
    run_codebook_matmul(plan, args, scratch.data());
  });
}

void decode(benchmark::State& state, int bits) {
  Weights w(bits, 300, 784, 1);
  Array<float> out(300 * 784);
  measure(state, {0, 0, 300 * 784 * (4 + bits / 8.0)},
          [&] { decode_rows(w.views[0], 0, 300, out.data(), 784, active_features()); });
}

void gradient(benchmark::State& state, int bits) {
  Weights w(bits, 300, 784, 1);
  Array<float> d_w = random_floats(300 * 784), d_entries(256);
  Array<char> scratch(codebook_gradient_scratch(w.views[0]));
  measure(state, {0, 0, 300 * 784 * (4 + bits / 8.0)}, [&] {
    codebook_gradient(w.views[0], d_w.data(), 784, d_entries.data(), nullptr, active_features(),
                      scratch.data());
  });
}

const bool registered = [] {
  const auto add = [](const std::string& name, auto&& run) {
    benchmark::RegisterBenchmark(name.c_str(), run)
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond)
        ->MinTime(0.2);
  };
  const std::vector<Shape> shapes = {{"lenet300_fwd1", 256, 300, 784, GemmB::kColumns, false},
                                     {"lenet300_fwd1_packed", 256, 300, 784, GemmB::kPanels, false},
                                     {"lenet300_fwd2", 256, 100, 300, GemmB::kColumns, false},
                                     {"lenet300_fwd3", 256, 10, 100, GemmB::kColumns, false},
                                     {"lenet300_dw1", 300, 784, 256, GemmB::kRows, true},
                                     {"lenet300_dw2", 100, 300, 256, GemmB::kRows, true},
                                     {"lenet300_dw3", 10, 100, 256, GemmB::kRows, true},
                                     {"lenet300_dx2", 256, 300, 100, GemmB::kRows, false},
                                     {"lenet300_dx3", 256, 100, 10, GemmB::kRows, false},
                                     {"lstm_step_20", 20, 2600, 1300, GemmB::kPanels, false},
                                     {"square_1024", 1024, 1024, 1024, GemmB::kColumns, false},
                                     {"batch_1", 1, 1024, 1024, GemmB::kPanels, false},
                                     {"batch_4", 4, 1024, 1024, GemmB::kPanels, false},
                                     {"batch_16", 16, 1024, 1024, GemmB::kPanels, false}};
  for (const Shape& s : shapes) {
    add(std::string("gemm/") + s.name, [s](benchmark::State& state) { gemm(state, s); });
    add(std::string("onednn/") + s.name, [s](benchmark::State& state) { onednn(state, s); });
  }
  for (int bits : {1, 2, 3, 4, 5, 6})
    for (int64_t m : {1, 2, 4, 8, 16, 32, 256})
      add("codebook/packed_hot/bits:" + std::to_string(bits) + "/m:" + std::to_string(m),
          [=](benchmark::State& state) { codebook(state, bits, m, 4096, 4096, true, false); });
  for (int bits : {1, 4})
    for (int64_t m : {8, 16, 24, 32, 64, 256})
      add("codebook/packed_1024/bits:" + std::to_string(bits) + "/m:" + std::to_string(m),
          [=](benchmark::State& state) { codebook(state, bits, m, 1024, 1024, true, false); });
  for (int bits : {1, 2, 4})
    for (int64_t m : {1, 4})
      add("codebook/packed_cold/bits:" + std::to_string(bits) + "/m:" + std::to_string(m),
          [=](benchmark::State& state) { codebook(state, bits, m, 4096, 4096, true, true); });
  for (int bits : {1, 4, 8})
    add("codebook/logical_lenet300/bits:" + std::to_string(bits) + "/m:256",
        [=](benchmark::State& state) { codebook(state, bits, 256, 300, 784, false, false); });
  for (int bits = 1; bits <= 8; ++bits)
    add("decode/bits:" + std::to_string(bits), [=](benchmark::State& s) { decode(s, bits); });
  for (int bits = 1; bits <= 8; ++bits)
    add("gradient/bits:" + std::to_string(bits), [=](benchmark::State& s) { gradient(s, bits); });
  benchmark::AddCustomContext("features", text(active_features()));
  benchmark::AddCustomContext("threads", std::to_string(num_threads()));
  benchmark::AddCustomContext("fma_peak_gflops", std::to_string(limits().flops * 1e-9));
  benchmark::AddCustomContext("read_hot_gbs", std::to_string(limits().hot * 1e-9));
  benchmark::AddCustomContext("read_cold_gbs", std::to_string(limits().cold * 1e-9));
  return true;
}();

}  // namespace
}  // namespace tessera
