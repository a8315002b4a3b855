// Products with codebook weights in integers beside the exact ones, in turn within one run, and
// what the machine allows: int8_bench [ROWS COLUMNS [BITS,... [BATCH,... [BLOCK [cold]]]]]. The
// floor is the larger of two times, both of rates measured at the start of the run on as many
// threads:
//   instructions  dot products, look-ups, shifts and selections of 64 weights, each as long as a
//                 dot product of 64 bytes (two execution ports of a core take them all)
//   bytes         the packed weights, read once, at the rate of reading as many over and over
// cold: so many copies in turn that no cache holds them. TESSERA_THREADS sets the threads.
#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/parallel.h"
#include "core/text.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/int8_matmul.h"

namespace tessera {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Memory {
 public:
  explicit Memory(size_t bytes) : memory_(bytes + 64) {}
  template <class T = char>
  T* data() {
    void* p = memory_.data();
    size_t space = memory_.size();
    return static_cast<T*>(std::align(64, memory_.size() - 64, p, space));
  }

 private:
  std::vector<char> memory_;
};

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

// Dot products of 64 bytes a second on all threads, the best of several; 0 without AVX-512 VNNI.
double dot_rate() {
  if (!active_features().includes(kAvx512 | kVnni)) return 0;
  std::vector<double> best(static_cast<size_t>(num_threads()));
  parallel_parts(num_threads(), [&](int64_t part) {
    for (int i = 0; i < 30; ++i) {
      const double start = now(), count = dot_products();
      double& rate = best[static_cast<size_t>(part)];
      rate = std::max(rate, count / (now() - start));
    }
  });
  double sum = 0;
  for (const double rate : best) sum += rate;
  return sum;
}

__attribute__((target("avx512f"))) void read_lines(const char* p, size_t bytes) {
  __m512i sum[4] = {};
  for (size_t i = 0; i + 256 <= bytes; i += 256)
    for (int j = 0; j < 4; ++j)
      sum[j] = _mm512_xor_si512(sum[j], _mm512_load_si512(p + i + 64 * static_cast<size_t>(j)));
  int kept[16];
  _mm512_storeu_si512(
      kept, _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3])));
  benchmark::DoNotOptimize(kept);
}

// Bytes a second of reading so many over and over, the best of several.
double read_rate(size_t bytes) {
  if (!active_features().includes(kAvx512)) return 0;
  Memory memory(bytes);
  double best = 0;
  const auto parts = static_cast<size_t>(num_threads());
  for (int i = 0; i < 20; ++i) {
    const double start = now();
    parallel_parts(num_threads(), [&](int64_t part) {
      const size_t each = bytes / parts / 256 * 256;
      read_lines(memory.data() + each * static_cast<size_t>(part), each);
    });
    best = std::max(best, static_cast<double>(bytes) / (now() - start));
  }
  return best;
}

// Vector instructions for 64 weights.
double instructions(int bits, int64_t m) {
  const int form = form_of(bits);
  constexpr double kShifts[] = {0, 7 / 8.0, 0.75, 2.5, 0.5, 2.375, 2.25};
  if (form == 8) return static_cast<double>(m);
  if (form == 1 && m <= 2) return static_cast<double>(m) * 11 / 8;  // by sums of subsets
  const double decode = 1 + kShifts[form];
  return static_cast<double>(m) + decode * static_cast<double>(m > 8 ? (m + 119) / 120 : 1);
}

struct Times {
  double median, least;
};
Times times_of(std::vector<double> all) {
  std::sort(all.begin(), all.end());
  return {all[all.size() / 2], all.front()};
}

void compare(int bits, int64_t m, int64_t rows, int64_t cols, int64_t block, bool cold,
             double dots) {
  CodebookView v;
  v.bits = bits;
  v.k = 1 << bits;
  v.rows = rows;
  v.cols = cols;
  v.block = block;
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<uint8_t> indices(static_cast<size_t>(codebook_index_bytes(v)));
  for (uint8_t& byte : indices) byte = static_cast<uint8_t>(rng());
  std::vector<float> entries(static_cast<size_t>(v.k));
  for (float& e : entries) e = uniform(rng);
  const std::vector<float> scale(static_cast<size_t>(rows * codebook_blocks(v)), 1.0f);
  v.indices = indices.data();
  v.entries = entries.data();
  v.scale = scale.data();
  Memory x(static_cast<size_t>(m * cols) * 4), y(static_cast<size_t>(m * rows) * 4);
  for (int64_t i = 0; i < m * cols; ++i) x.data<float>()[i] = uniform(rng);

  const auto bytes = static_cast<size_t>(layout_of_int8(v).bytes);
  const size_t copies = cold ? 1 + static_cast<size_t>(600e6) / bytes : 1;
  std::vector<Memory> forms;
  for (size_t i = 0; i < copies; ++i) {
    forms.emplace_back(bytes);
    pack_int8(v, forms.back().data());
  }
  const CpuFeatures features = active_features();
  const Int8MatmulPlan plan = prepare_int8_matmul(m, v, false, features, num_threads());
  Memory scratch(plan.scratch_bytes);
  const Int8MatmulArgs args{x.data<float>(), cols, nullptr, y.data<float>(), rows};

  const bool packs = packable(v) && m <= packed_rows(v) && features.includes(kAvx512);
  Memory exact_form(packs ? packed_bytes(v) : 0);
  if (packs) repack_codebook(v, features, exact_form.data());
  const CodebookMatmulPlan exact =
      prepare_codebook_matmul({m, v, false, packs, false}, features, num_threads());
  Memory exact_scratch(exact.scratch_bytes);
  CodebookMatmulArgs exact_args{x.data<float>(), cols, v, exact_form.data(), y.data<float>(), rows};

  std::vector<double> rounded_times, exact_times;
  size_t turn = 0;
  const double begin = now();
  for (int round = 0; round < 400 && (round < 4 || now() - begin < 1.0); ++round) {
    for (int i = 0; i < (round ? 3 : 1); ++i) {
      Int8MatmulArgs one = args;
      one.packed = forms[turn++ % copies].data();
      const double start = now();
      run_int8_matmul(plan, one, scratch.data());
      if (round) rounded_times.push_back(now() - start);
    }
    for (int i = 0; i < 2; ++i) {
      const double start = now();
      run_codebook_matmul(exact, exact_args, exact_scratch.data());
      if (round) exact_times.push_back(now() - start);
    }
  }
  const Times t = times_of(rounded_times), e = times_of(exact_times);
  const double groups = static_cast<double>(rows) * static_cast<double>(cols) / 64;
  const double work = dots > 0 ? groups * instructions(bits, m) / dots : 0;
  const double rate = read_rate(cold ? size_t{600} << 20 : bytes);
  const double moved = rate > 0 ? static_cast<double>(bytes) / rate : 0;
  std::printf("%4d %5lld  %9.4f %9.4f  %9.4f %9.4f %6.2f  %9.4f %9.4f %6.2f  %7.0f  %s\n", bits,
              static_cast<long long>(m), t.median * 1e3, t.least * 1e3, e.median * 1e3,
              e.least * 1e3, e.median / t.median, work * 1e3, moved * 1e3,
              std::max(work, moved) / t.least,
              128 * groups * static_cast<double>(m) / t.least * 1e-9, plan.kernels->name);
  std::fflush(stdout);
}

std::vector<int64_t> numbers(const char* text) {
  std::vector<int64_t> out;
  for (const char* p = text; *p;) {
    char* end = nullptr;
    out.push_back(std::strtoll(p, &end, 10));
    p = *end == ',' ? end + 1 : end;
    if (end == text || (*end && *end != ',')) break;
  }
  return out;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  const auto given = [&](int i, const char* usual) { return argc > i ? argv[i] : usual; };
  const int64_t rows = numbers(given(1, "4096"))[0], cols = numbers(given(2, "4096"))[0];
  const int64_t block = numbers(given(5, "0"))[0];
  const bool cold = std::string(given(6, "")) == "cold";
  const double dots = dot_rate();
  std::printf("%lld x %lld, block %lld, %s, %d threads, %s; dot products %.0f GOP/s\n",
              static_cast<long long>(rows), static_cast<long long>(cols),
              static_cast<long long>(block), cold ? "cold" : "hot", num_threads(),
              text(active_features()).c_str(), dots * 128e-9);
  std::printf(
      "bits batch  int8 med.     least   f32 med.     least  ratio  floor ops     bytes  share  "
      "GOP/s  kernel (ms)\n");
  for (const int64_t bits : numbers(given(3, "1,2,4,8")))
    for (const int64_t m : numbers(given(4, "1,8,32,128,512")))
      compare(static_cast<int>(bits), m, rows, cols, block, cold, dots);
}
