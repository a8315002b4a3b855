// Codebook kernels against plain loops over unpacked indices: all widths, dtypes, groups, blocks
// and vector lengths, on every instruction set this machine has.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "core/cpu.h"
#include "core/parallel.h"
#include "ops/codebook/byte_panels.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/packed_kernels.h"
#include "tests/ops/codebook_matrix.h"

namespace tessera {
namespace {

using test::Aligned;
using test::Matrix;
using test::Spec;

std::vector<CpuFeatures> levels() {
  std::vector<CpuFeatures> out;
  for (CpuFeatures f : {kScalar, kAvx2, kAvx2 | kAvx512, kAvx2 | kAvx512 | kVbmi})
    if (active_features().includes(f)) out.push_back(f);
  return out;
}

std::vector<Spec> specs(int64_t rows, int64_t cols) {
  std::vector<Spec> out;
  for (int bits = 1; bits <= 8; ++bits) {
    for (int d : {1, 2, 4, 8})
      if (cols % d == 0) out.push_back({bits, rows, cols, d});
    for (int64_t group : {1, 3, 16})
      out.push_back({bits, rows, cols, 1, group, 0, EntryDtype::kBf16});
    for (int64_t block : {int64_t{8}, int64_t{13}, int64_t{32}, cols})
      out.push_back({bits, rows, cols, 1, block == 32 ? int64_t{32} : 0, block, EntryDtype::kS8});
  }
  return out;
}

TEST(CodebookKernel, IndicesPackAndUnpack) {
  std::mt19937 rng(3);
  for (int bits = 1; bits <= 8; ++bits)
    for (int64_t n = 0; n <= 70; ++n) {
      std::vector<uint8_t> in(n), out(n);
      for (uint8_t& i : in) i = static_cast<uint8_t>(rng() & ((1u << bits) - 1));
      std::vector<uint8_t> packed((n * bits + 7) / 8, 0xff);
      pack_indices(in.data(), n, bits, packed.data());
      for (int64_t i = 0; i < n; ++i)
        for (int b = 0; b < bits; ++b)
          ASSERT_EQ(packed[(i * bits + b) / 8] >> ((i * bits + b) % 8) & 1, in[i] >> b & 1);
      for (int64_t first = 0; first <= n; first += 3) {
        unpack_indices(packed.data(), first, n - first, bits, out.data());
        ASSERT_TRUE(std::equal(in.begin() + first, in.end(), out.begin())) << bits << " " << first;
      }
    }
}

TEST(CodebookKernel, DecodeRowsEqualsReference) {
  for (CpuFeatures f : levels())
    for (int64_t cols : {1, 2, 4, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 128, 129, 264})
      for (const Spec& s : specs(5, cols)) {
        const Matrix m(s);
        std::vector<float> out(m.dense.size());
        decode_rows(m.view, 0, 5, out.data(), cols, f);
        ASSERT_EQ(out, m.dense) << name(s, f);
        std::vector<float> part(2 * cols);
        decode_rows(m.view, 2, 4, part.data(), cols, f);
        ASSERT_TRUE(std::equal(part.begin(), part.end(), m.dense.begin() + 2 * cols)) << name(s, f);
      }
}

TEST(CodebookKernel, DecodeSpanStartsAnywhere) {
  for (CpuFeatures f : levels())
    for (const Spec& s : specs(3, 152)) {
      const Matrix m(s);
      Aligned memory(decoder_bytes(m.view));
      const CodebookDecoder decoder = make_decoder(m.view, f, memory.data());
      for (int64_t col = 0; col < 152; col += 7) {
        std::vector<float> out(152 - col);
        decode_span(decoder, 1, col, 152 - col, out.data());
        ASSERT_TRUE(std::equal(out.begin(), out.end(), m.dense.begin() + 152 + col)) << name(s, f);
      }
    }
}

struct Sink {
  std::vector<float>* y;
  int64_t ld;
};
void store(void* context, int64_t row0, int64_t rows, int64_t col0, int64_t cols, float* tile,
           int64_t ld) {
  const auto& sink = *static_cast<Sink*>(context);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      (*sink.y)[(row0 + r) * sink.ld + col0 + c] = tile[r * ld + c];
}

enum class Form { planes, packed, bytes };

std::vector<float> multiply(const Matrix& w, int64_t m, const std::vector<float>& x, Form kept,
                            bool transposed, bool epilogue, CpuFeatures f, int threads) {
  const bool packed = kept == Form::packed, bytes = kept == Form::bytes;
  CodebookMatmulProblem problem{m, w.view, transposed, packed, epilogue, bytes};
  const CodebookMatmulPlan plan = prepare_codebook_matmul(problem, f, threads);
  Aligned scratch(plan.scratch_bytes), form(packed  ? packed_bytes(w.view)
                                            : bytes ? byte_panels_bytes(w.view)
                                                    : 0);
  const int64_t n = transposed ? w.view.cols : w.view.rows;
  std::vector<float> y(m * n, 99.0f);
  Sink sink{&y, n};
  CodebookMatmulArgs args;
  args.x = x.data();
  args.x_rs = transposed ? w.view.rows : w.view.cols;
  if (packed) {
    repack_codebook(w.view, f, form.data());
    args.packed = form.data();
  } else if (bytes) {
    pack_byte_panels(w.view, form.data());
    args.packed = form.data();
  } else {
    args.view = w.view;
  }
  args.y = y.data();
  args.ldy = n;
  if (epilogue) {
    args.epilogue = store;
    args.epilogue_context = &sink;
  }
  run_codebook_matmul(plan, args, scratch.data());
  return y;
}

std::vector<float> random_x(int64_t n) {
  std::mt19937 rng(5);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> x(n);
  for (float& v : x) v = uniform(rng);
  return x;
}

void check_product(const Matrix& w, const Spec& s, int64_t m, Form kept, bool transposed,
                   bool epilogue, CpuFeatures f) {
  const int64_t n = transposed ? s.cols : s.rows, k = transposed ? s.rows : s.cols;
  const std::vector<float> x = random_x(m * k);
  const std::vector<float> y = multiply(w, m, x, kept, transposed, epilogue, f, 2);
  const double unit = s.dtype == EntryDtype::kS8 ? 128.0 : 1.0;
  int bad = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < k; ++c)
        sum += static_cast<double>(x[i * k + c]) *
               w.dense[transposed ? c * s.cols + j : j * s.cols + c];
      if (!(std::abs(y[i * n + j] - sum) <= unit * 2e-6 * (2 + std::sqrt(k)))) ++bad;
    }
  EXPECT_EQ(bad, 0) << name(s, f) << " m " << m
                    << (kept == Form::packed  ? " packed"
                        : kept == Form::bytes ? " bytes"
                                              : "")
                    << (transposed ? " transposed" : "") << (epilogue ? " epilogue" : "");
}

TEST(CodebookKernel, ProductsFromLogicalOrder) {
  for (CpuFeatures f : levels())
    for (const Spec& s : specs(37, 88)) {
      const Matrix w(s);
      for (bool transposed : {false, true})
        for (int64_t m : {1, 5, 19}) check_product(w, s, m, Form::planes, transposed, m == 5, f);
    }
}

TEST(CodebookKernel, ProductsFromPackedForm) {
  for (CpuFeatures f : levels())
    for (int64_t cols : {1, 8, 21, 40, 67})
      for (const Spec& s : specs(70, cols)) {
        const Matrix w(s);
        if (!packable(w.view)) continue;
        for (int64_t m : {1, 2, 4, 8, 11, 70}) {
          if (s.vector_len > 1 && m > packed_rows(w.view)) break;
          check_product(w, s, m, Form::packed, false, m % 2 == 0, f);
        }
      }
}

TEST(CodebookKernel, EveryRegisterTile) {
  for (CpuFeatures f : levels())
    for (int bits = 1; bits <= kPackedMaxBits; ++bits)
      for (int64_t rows : {1, 15, 16, 17, 33, 64, 100, 129, 250})
        for (int64_t m = 1; m <= 17; ++m) {
          const Spec s{bits, rows, 43};
          check_product(Matrix(s), s, m, Form::packed, false, false, f);
        }
}

TEST(CodebookKernel, ProductsFromByteForm) {
  for (CpuFeatures f : levels())
    for (const Spec& s :
         {Spec{6, 37, 43}, Spec{7, 70, 41}, Spec{8, 33, 64}, Spec{8, 250, 42, 1, 16},
          Spec{7, 37, 88, 1, 0, 12}, Spec{8, 20, 50, 1, 0, 6}, Spec{8, 5, 3}, Spec{8, 19, 88, 2},
          Spec{7, 0, 8}, Spec{8, 5, 0}}) {
      const Matrix w(s);
      if (!byte_panels_fit(w.view, f)) continue;
      for (int64_t m = 0; m <= kByteRegisterRows + 1; m += m < 17 ? 1 : 7)
        check_product(w, s, m, Form::bytes, false, m % 2 == 0, f);
    }
}

TEST(CodebookKernel, EveryVectorTile) {
  for (CpuFeatures f : levels())
    for (int bits = 1; bits <= kPackedMaxVectorBits; ++bits)
      for (int d : {2, 3, 8, 16})
        for (int64_t rows : {1, 15, 16, 33, 64, 100, 129, 250})
          for (int64_t group_rows : {0, 32}) {
            const Spec s{bits, rows, 43 * d, d, group_rows};
            for (int64_t m : {1, 4}) check_product(Matrix(s), s, m, Form::packed, false, m == 4, f);
          }
}

TEST(CodebookKernel, SeveralPassesOverDepth) {
  for (CpuFeatures f : levels())
    for (const Spec& s :
         {Spec{4, 20, 2504, 1, 16, 32}, Spec{7, 20, 2504, 1, 0, 100}, Spec{3, 20, 2504, 2}}) {
      const Matrix w(s);
      const int64_t m = s.vector_len > 1 ? packed_rows(w.view) : 70;
      if (packable(w.view)) check_product(w, s, m, Form::packed, false, true, f);
      check_product(w, s, 20, Form::planes, false, true, f);
    }
}

TEST(CodebookKernel, EmptySizes) {
  for (CpuFeatures f : levels())
    for (Form kept : {Form::planes, Form::packed}) {
      for (const Spec& s : {Spec{4, 0, 8}, Spec{4, 5, 0}, Spec{3, 0, 8, 2}, Spec{3, 5, 0, 2}})
        check_product(Matrix(s), s, 3, kept, false, false, f);
      const Spec s{2, 5, 8};
      check_product(Matrix(s), s, 0, kept, false, false, f);
    }
}

TEST(CodebookKernel, PackedFormIsNotLargerThanPaddedIndices) {
  for (int bits = 1; bits <= kPackedMaxBits; ++bits) {
    const Matrix m({bits, 300, 780});
    const size_t indices = 304 * 784 * bits / 8;
    EXPECT_EQ(packed_bytes(m.view), indices + (decoder_bytes(m.view) + 63) / 64 * 64) << bits;
  }
}

TEST(CodebookKernel, UnpackableSaysWhy) {
  const char* reason = nullptr;
  EXPECT_TRUE(packable(Matrix({4, 40, 64, 1, 16, 32}).view, &reason));
  EXPECT_STREQ(reason, "");
  EXPECT_FALSE(packable(Matrix({7, 40, 64}).view, &reason));
  EXPECT_STREQ(reason, "more than 6 bits");
  EXPECT_TRUE(packable(Matrix({5, 40, 64, 2}).view, &reason));
  EXPECT_FALSE(packable(Matrix({6, 40, 64, 2}).view, &reason));
  EXPECT_STREQ(reason, "vectors of more than 5 bits");
  EXPECT_FALSE(packable(Matrix({4, 40, 64, 2, 0, 16}).view, &reason));
  EXPECT_STREQ(reason, "vectors with a scale");
  EXPECT_FALSE(packable(Matrix({4, 40, 64, 1, 8}).view, &reason));
  EXPECT_FALSE(packable(Matrix({4, 40, 64, 1, 0, 12}).view, &reason));
}

TEST(CodebookKernel, GradientEqualsReference) {
  for (CpuFeatures f : levels())
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{37, 88}, {5, 9000}, {600, 24}})
      for (const Spec& s : specs(rows, cols)) {
        const Matrix w(s);
        const std::vector<float> d_w = random_x(rows * cols);
        std::vector<float> d_entries(w.entries.size(), 1.0f), d_scale(w.scale.size(), 1.0f);
        std::vector<double> want_entries(d_entries.size(), 1.0), want_scale(d_scale.size(), 1.0);
        std::vector<double> size_entries(d_entries.size(), 1.0);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < cols; ++c) {
            const double d = d_w[r * cols + c];
            const double scale = s.block ? w.scale[w.scale_at(r, c)] : 1.0;
            want_entries[w.entry_at(r, c)] += d * scale;
            size_entries[w.entry_at(r, c)] += std::abs(d * scale);
            if (s.block) want_scale[w.scale_at(r, c)] += d * w.entries[w.entry_at(r, c)];
          }
        Aligned scratch(codebook_gradient_scratch(w.view));
        codebook_gradient(w.view, d_w.data(), cols, d_entries.data(), d_scale.data(), f,
                          scratch.data());
        for (size_t i = 0; i < d_entries.size(); ++i)
          ASSERT_NEAR(d_entries[i], want_entries[i], 1e-5 + 1e-6 * size_entries[i]) << name(s, f);
        const double unit = s.dtype == EntryDtype::kS8 ? 128.0 : 1.0;
        for (size_t i = 0; i < d_scale.size(); ++i)
          ASSERT_NEAR(d_scale[i], want_scale[i], unit * 1e-6 * (4 + std::sqrt(cols))) << name(s, f);
      }
}

TEST(CodebookKernel, SameBitsForAnyThreadCount) {
  const int before = num_threads();
  const Spec s{4, 300, 784, 1, 0, 112};
  const Matrix w(s);
  const std::vector<float> x = random_x(70 * 784), dx = random_x(70 * 300);
  const std::vector<float> d_w = random_x(300 * 784);
  for (CpuFeatures f : levels()) {
    std::vector<std::vector<float>> first;
    for (int threads : {1, 2, 3}) {
      set_num_threads(threads);
      std::vector<std::vector<float>> got;
      for (int64_t m : {1, 6, 24, 70}) {
        got.push_back(multiply(w, m, x, Form::packed, false, false, f, threads));
        got.push_back(multiply(w, m, x, Form::planes, false, true, f, threads));
        got.push_back(multiply(w, m, dx, Form::planes, true, false, f, threads));
      }
      std::vector<float> d_entries(w.entries.size()), d_scale(w.scale.size());
      Aligned scratch(codebook_gradient_scratch(w.view));
      codebook_gradient(w.view, d_w.data(), 784, d_entries.data(), d_scale.data(), f,
                        scratch.data());
      got.push_back(d_entries);
      got.push_back(d_scale);
      if (first.empty()) first = got;
      EXPECT_EQ(first, got) << threads << " threads on " << text(f);
    }
  }
  set_num_threads(before);
}

TEST(CodebookKernel, FeaturesChooseTheKernels) {
  EXPECT_STREQ(decode_kernels(kScalar).name, "ref");
#if defined(__x86_64__)
  EXPECT_STREQ(decode_kernels(kAvx2).name, "avx2");
  EXPECT_STREQ(decode_kernels(kAvx2 | kAvx512).name, "avx512");
  EXPECT_STREQ(decode_kernels(kAvx2 | kAvx512 | kVbmi).name, "avx512vbmi");
  EXPECT_STREQ(decode_kernels(kAvx2 | kVbmi).name, "avx2");
#endif
}

}  // namespace
}  // namespace tessera
