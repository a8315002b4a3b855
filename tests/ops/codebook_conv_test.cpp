// Convolutions of codebook weights: rows that decode the weight block by block, on random and on
// chosen geometries and encodings, against the reference, and the same bits for any number of
// threads.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/parallel.h"
#include "ops/conv/conv.h"
#include "ops/conv/rows.h"
#include "ops/layout/layout.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

struct Geometry {
  Shape x, w;
  Ints stride = {1, 1}, padding = {0, 0, 0, 0}, dilation = {1, 1};
};

constexpr CodebookFormat kFormats[] = {
    {.bits = 1},
    {.bits = 2, .scale_block = CodebookFormat::kScalePerRow},
    {.bits = 3, .group_rows = 16},
    {.bits = 4},
    {.bits = 4, .scale_block = 8},
    {.bits = 5, .entry_dtype = DType::bf16},
    {.bits = 6, .group_rows = 32},
    {.bits = 7},
    {.bits = 8, .entry_dtype = DType::s8, .scale_block = CodebookFormat::kScalePerRow},
    {.bits = 4, .group_rows = 7},
    {.bits = 4, .scale_block = 5},
    {.bits = 3, .vector_len = 2},
    {.bits = 8, .vector_len = 4},
    {.bits = 7, .scale_block = 12},
    {.bits = 6, .scale_block = CodebookFormat::kScalePerRow, .vector_len = 3},
    {.bits = 2, .vector_len = 6},
};

bool fits(const CodebookFormat& format, const Shape& w) {
  return CodebookFormat::row_length(w) % format.vector_len == 0;
}

const KernelRow& row_named(std::string_view name) {
  for (const KernelRow& row : conv2d_rows()) {
    if (row.name == name) return row;
  }
  throw std::runtime_error("no row " + std::string(name));
}

// Runs the row on this case, fixed weights and others, with 1, 2 and 5 threads. False: it refuses.
bool matches_the_reference(const KernelRow& row, const Geometry& geometry,
                           const CodebookFormat& format, bool blocked, std::uint64_t seed) {
  Sample sample{{},
                Attrs{{"stride", geometry.stride},
                      {"padding", geometry.padding},
                      {"dilation", geometry.dilation},
                      {"groups", std::int64_t{1}}}};
  TensorType x{DType::f32, geometry.x, {}}, w{DType::f32, geometry.w, Encoding::codebook(format)};
  if (blocked) x.encoding = blocked_encoding(x.shape);
  sample.inputs = {{x}, {w}};
  SCOPED_TRACE(cat(row.name, " ", geometry.x.text(), " ", w.text(), " seed ", seed));
  Rng rng(1, seed);
  const test::Case c = test::make_case(kConv2d, sample, rng);
  std::vector<RefTensor> want;
  bool ran = false;
  const int before = num_threads();
  for (const bool fixed : {false, true}) {
    std::optional<Tensor> first;
    for (const int threads : {1, 2, 5}) {
      set_num_threads(threads);
      const auto run = test::run_row(c, row, {.fixed = fixed});
      if (!run.refusal.empty()) break;
      ran = true;
      if (want.empty()) want = c.reference();
      if (first) {
        EXPECT_TRUE(equal_bits(*first, run.outputs[0])) << threads << " threads";
        continue;
      }
      first = run.outputs[0];
      // What f32 sums of so many products may be off, and Winograd's more of them.
      double largest = 1;
      for (const double v : c.inputs[1].v) largest = std::max(largest, std::fabs(v));
      const auto terms = static_cast<double>(conv_geometry(*c.node).patch());
      const double bound = 1.6e-5 * largest * std::sqrt(terms);
      int shown = 0;
      for (std::int64_t i = 0; i < want[0].numel() && shown < 3; ++i) {
        const double expected = want[0].v[static_cast<std::size_t>(i)];
        if (std::fabs(element(*first, i) - expected) <= bound * (1 + std::fabs(expected))) continue;
        ADD_FAILURE() << "element " << i << ": " << element(*first, i) << ", expected " << expected;
        ++shown;
      }
    }
  }
  set_num_threads(before);
  return ran;
}

// Each of the geometries with the next of the formats; every other time with x in blocks, if the
// row takes that.
void all_match(std::string_view name, std::span<const Geometry> geometries, bool blocks = true,
               std::span<const CodebookFormat> formats = kFormats) {
  const KernelRow& row = row_named(name);
  if (!test::runs_here(row)) GTEST_SKIP();
  std::uint64_t seed = 0;
  for (const Geometry& geometry : geometries) {
    for (int tried = 0; tried < 3; ++seed) {
      const CodebookFormat& format = formats[seed % formats.size()];
      if (!fits(format, geometry.w)) continue;
      ++tried;
      EXPECT_TRUE(matches_the_reference(row, geometry, format, blocks && seed % 2 == 0, seed))
          << name << " refuses " << geometry.x.text() << geometry.w.text();
    }
  }
}

TEST(CodebookConv, DirectInBlocks) {
  const Geometry geometries[] = {
      {{1, 16, 20, 13}, {16, 16, 3, 3}, {1, 1}, {1, 1, 1, 1}},          // borders, long rows
      {{3, 40, 9, 11}, {50, 40, 3, 2}, {2, 1}, {0, 2, 1, 0}},           // odd channels and borders
      {{2, 17, 15, 15}, {33, 17, 5, 5}, {1, 1}, {2, 2, 2, 2}},          // of many taps
      {{1, 20, 19, 19}, {18, 20, 3, 3}, {1, 2}, {3, 1, 0, 4}, {2, 3}},  // dilation
      {{2, 130, 11, 11}, {70, 130, 1, 1}},                              // pixels as one line
      {{1, 48, 40, 40}, {16, 48, 1, 1}},                                // in chunks
      {{2, 32, 13, 13}, {32, 32, 1, 1}, {2, 2}},                        // pointwise with steps
      {{5, 32, 8, 8}, {24, 32, 1, 1}, {1, 1}, {1, 0, 0, 2}},            // pointwise with borders
      {{40, 24, 9, 9}, {19, 24, 3, 3}, {1, 1}, {1, 1, 1, 1}},           // units over several images
      {{17, 70, 2, 2}, {65, 70, 3, 3}, {1, 1}, {1, 1, 1, 1}},           // one pixel of many images
      {{9, 16, 5, 4}, {17, 16, 3, 3}, {2, 2}, {1, 1, 1, 1}},            // and with steps
      {{1, 33, 4, 4}, {40, 33, 3, 3}, {1, 1}, {1, 1, 1, 1}},            // patches of one image
      {{2, 64, 6, 5}, {130, 64, 2, 3}, {1, 1}, {0, 1, 1, 0}},           // of two
      {{1, 16, 1, 1}, {16, 16, 3, 3}, {1, 1}, {3, 3, 3, 3}},            // pixels that no tap meets
      {{1, 16, 7, 3}, {16, 16, 1, 4}, {1, 1}, {0, 9, 0, 6}},            // borders as wide as that
  };
  all_match("conv2d_cb_blocks_avx512", geometries);
}

TEST(CodebookConv, WinogradInBlocks) {
  const Geometry geometries[] = {
      {{3, 32, 8, 8}, {16, 32, 3, 3}, {1, 1}, {1, 1, 1, 1}},      // transformed at once
      {{9, 17, 5, 6}, {35, 17, 3, 3}, {1, 1}, {0, 2, 1, 0}},      // odd channels, parts of tiles
      {{1, 130, 13, 12}, {70, 130, 3, 3}, {1, 1}, {1, 1, 1, 1}},  // blocks of channels
      {{10, 80, 13, 16}, {50, 80, 3, 3}, {1, 1}, {1, 1, 1, 1}},   // and of tiles
  };
  all_match("conv2d_cb_winograd_avx512", geometries);
}

// Few pixels: decoded in registers, patches with channels beyond the last block, borders, images
// and tiles that end anywhere.
TEST(CodebookConv, DecodedInRegisters) {
  const Geometry geometries[] = {
      {{1, 33, 4, 4}, {40, 33, 3, 3}, {1, 1}, {1, 1, 1, 1}},          // patches overlap blocks
      {{3, 70, 2, 2}, {65, 70, 3, 3}, {1, 1}, {1, 1, 1, 1}},          // tiles over images
      {{1, 16, 1, 1}, {16, 16, 3, 3}, {1, 1}, {1, 1, 1, 1}},          // one pixel
      {{1, 48, 3, 5}, {130, 48, 1, 1}},                               // pointwise
      {{1, 20, 9, 9}, {18, 20, 3, 2}, {3, 2}, {0, 2, 1, 0}},          // steps
      {{1, 17, 7, 7}, {33, 17, 3, 3}, {2, 2}, {1, 1, 0, 0}, {2, 2}},  // dilation
      {{5, 16, 1, 3}, {250, 16, 1, 3}, {1, 1}, {0, 1, 0, 1}},         // many output channels
  };
  const CodebookFormat few[] = {{.bits = 1},
                                {.bits = 2, .scale_block = CodebookFormat::kScalePerRow},
                                {.bits = 3, .group_rows = 16},
                                {.bits = 4, .entry_dtype = DType::s8},
                                {.bits = 5, .entry_dtype = DType::bf16},
                                {.bits = 6, .group_rows = 32}};
  all_match("conv2d_cb_registers_avx512", geometries, true, few);
  const CodebookFormat many[] = {{.bits = 7},
                                 {.bits = 8, .group_rows = 16},
                                 {.bits = 8, .scale_block = CodebookFormat::kScalePerRow},
                                 {.bits = 6}};
  all_match("conv2d_cb_registers_avx512vbmi", geometries, true, many);
}

TEST(CodebookConv, DecodedForDenseRows) {
  const Geometry geometries[] = {
      {{2, 3, 20, 20}, {32, 3, 7, 7}, {2, 2}, {3, 3, 3, 3}},     // oneDNN on few channels
      {{31, 20, 8, 8}, {50, 20, 5, 5}},                          // images in lanes
      {{10, 16, 30, 30}, {31, 16, 3, 3}, {2, 2}, {1, 1, 1, 1}},  // oneDNN on blocks
  };
  all_match("conv2d_cb_decoded", geometries, /*blocks=*/false);
}

// What the decoded row decodes is bounded, and so is what the others do at once.
TEST(CodebookConv, ScratchIsABlock) {
  Sample sample{{{{DType::f32, {1, 512, 7, 7}, {}}},
                 {{DType::f32, {512, 512, 3, 3}, Encoding::codebook({.bits = 4})}}},
                Attrs{{"stride", Ints{1, 1}},
                      {"padding", Ints{1, 1, 1, 1}},
                      {"dilation", Ints{1, 1}},
                      {"groups", std::int64_t{1}}}};
  Rng rng(1, 1);
  const test::Case c = test::make_case(kConv2d, sample, rng);
  EXPECT_EQ(test::run_row(c, row_named("conv2d_cb_decoded")).refusal,
            "the weight is more than a block");
  const std::int64_t dense = 512 * 512 * 9 * 4;
  for (const char* name : {"conv2d_cb_blocks_avx512", "conv2d_cb_winograd_avx512"}) {
    if (!test::runs_here(row_named(name))) continue;
    sample.inputs[0].type.shape = {4, 512, 7, 7};
    const auto run = test::run_row(test::make_case(kConv2d, sample, rng), row_named(name));
    ASSERT_EQ(run.refusal, "");
    EXPECT_LT(run.plan.scratch_bytes, dense / 2) << name;
  }
}

// Small random layers, as the rows choose themselves: every one that does not refuse.
TEST(CodebookConv, RandomLayers) {
  std::set<std::string_view> ran;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    Rng rng(2, seed);
    const auto draw = [&](std::int64_t low, std::int64_t high) {
      return low + static_cast<std::int64_t>(rng.uniform() * static_cast<double>(high - low + 1));
    };
    const std::int64_t kh = draw(1, 4), kw = draw(0, 2) == 0 ? draw(1, 4) : kh;
    Geometry g{{draw(1, 12), draw(16, 60), draw(3, 12), draw(3, 12)},
               {draw(16, 60), 0, kh, kw},
               {draw(1, 2), draw(1, 2)},
               {draw(0, 2), draw(0, 2), draw(0, 2), draw(0, 2)},
               {draw(1, 2), draw(1, 2)}};
    if (seed % 3 == 0) g.w = {g.w[0], 0, 3, 3}, g.stride = g.dilation = {1, 1};
    g.w = {g.w[0], g.x[1], g.w[2], g.w[3]};
    const auto size = [&](int axis, int pad) {
      const auto i = static_cast<std::size_t>(axis);
      return window_count(g.x[axis + 2].value(), g.padding[pad] + g.padding[pad + 2],
                          g.w[axis + 2].value(), g.stride[i], g.dilation[i]);
    };
    const CodebookFormat& format = kFormats[seed % std::size(kFormats)];
    if (size(0, 0) < 1 || size(1, 1) < 1 || !fits(format, g.w)) continue;
    for (const KernelRow& row : conv2d_rows()) {
      if (!row.name.starts_with("conv2d_cb_") || !test::runs_here(row)) continue;
      if (matches_the_reference(row, g, format, draw(0, 1) == 1, seed)) ran.insert(row.name);
    }
  }
  EXPECT_TRUE(ran.contains("conv2d_cb_ref"));
}

}  // namespace
}  // namespace tessera
