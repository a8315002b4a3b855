// C steps: the codebook of a given kind that is nearest to the weights, in closed form or exactly.
// Source: Carreira-Perpinan & Idelbayev, arXiv 1707.04319, section 4; extensions where stated.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/encoding.h"

namespace tessera::quant {

// Which codebooks a fit may choose from. A value; parse(text()) gives it back.
//   adaptive:K          K free entries (1-D k-means)
//   fixed:c1,c2,...     these entries
//   scaled:c1,c2,...    a c1, a c2, ... with one free scale a >= 0
//   binary  ternary     fixed:-1,1  fixed:-1,0,1
//   binary-scaled  ternary-scaled
//   multibit:B          the 2^B sums of +-a_1 ... +-a_B with B free a
//   pow2:C              0, +-1, +-1/2, ..., +-2^-C;  pow2-scaled:C with a free scale
//   vector:KxD          K free entries of D consecutive weights of a row (k-means in D dimensions)
class CodebookSpec {
 public:
  enum class Kind { kAdaptive, kFixed, kScaled, kMultibit, kVector };

  // Up to 256 entries, finite and different; pow2 takes C in 0..126. Error otherwise.
  static CodebookSpec adaptive(int entries);
  static CodebookSpec fixed(std::vector<float> entries);
  static CodebookSpec scaled(std::vector<float> entries);
  static CodebookSpec binary() { return fixed({-1, 1}); }
  static CodebookSpec ternary() { return fixed({-1, 0, 1}); }
  static CodebookSpec scaled_binary() { return scaled({-1, 1}); }
  static CodebookSpec scaled_ternary() { return scaled({-1, 0, 1}); }
  static CodebookSpec multibit(int bits);                // 1..8
  static CodebookSpec vectors(int entries, int length);  // of 2..16 weights
  static CodebookSpec powers_of_two(int most_negative_exponent);
  static CodebookSpec scaled_powers_of_two(int most_negative_exponent);
  // -2^(bits-1) .. 2^(bits-1) - 1, scaled: symmetric integers.
  static CodebookSpec uniform(int bits);  // 2..8
  bool is_uniform() const;
  // The 16 quantiles of a normal distribution of Dettmers et al., "QLoRA", NeurIPS 2023 (arXiv
  // 2305.14314, appendix E), scaled.
  static CodebookSpec nf4();
  // Of a scaled codebook: with one scale for every `block` consecutive weights of a row, the last
  // of a row maybe shorter, or for every row (CodebookFormat::kScalePerRow). Throws Error.
  CodebookSpec with_scale_block(std::int64_t block) const;
  // "adaptive:4", "nf4", "nf4@64" (a scale per 64 weights), "binary-scaled@row", ...
  static CodebookSpec parse(std::string_view text);

  Kind kind() const { return kind_; }
  int size() const { return size_; }  // entries, at most (adaptive)
  const std::vector<float>& entries() const {
    return entries_;
  }                                                          // ascending; empty where they are free
  int bits() const;                                          // of an index, 1..8
  std::int64_t scale_block() const { return scale_block_; }  // 0: one scale, within the entries
  int vector_len() const { return vector_len_; }             // weights of an index
  // How a tensor with this codebook is stored.
  CodebookFormat format(std::int64_t group_rows) const;
  std::string text() const;

  friend bool operator==(const CodebookSpec&, const CodebookSpec&) = default;

 private:
  CodebookSpec(Kind kind, int size, std::vector<float> entries);

  Kind kind_;
  int size_;
  std::vector<float> entries_;
  std::int64_t scale_block_ = 0;
  int vector_len_ = 1;
};

struct CodebookFit {
  std::vector<float> entries;         // ascending; as many as the spec says, adaptive maybe fewer
  std::vector<std::uint8_t> indices;  // nearest entry per weight; for ties see assign.h
  float scale = 1;                    // of a scaled codebook; the entries include it
  double error = 0;                   // sum h (w - entry)^2, f64
  double changed = 1;                 // share of indices unlike the warm start's; 1 without one
};

struct FitOptions {
  // An earlier fit of the same weights some steps ago. Adaptive codebooks are then improved by
  // Lloyd's alternation from its entries, which never raises the error, unless `exact`. Its
  // indices, when present, are what `changed` counts against.
  const CodebookFit* warm_start = nullptr;
  // Adaptive: the global optimum in spite of a warm start. Without one this is always so.
  bool exact = false;
  std::string_view name = "weights";  // of the tensor, for errors
};

// The codebook of the spec that minimizes sum_i h_i (w_i - entry(i))^2, h = importance or 1 where
// that is empty or zero everywhere. Globally optimal for every kind but multibit of three bits and
// more; the only other local search is a warm-started adaptive one.
//   fixed:   nearest entries. binary: sgn, sgn(0) = +1; ternary: 0 where |w| < 1/2.
//   scaled:  binary a = sum h|w| / sum h; else the exact breakpoint search of scale.h. A scale
//            of 0 (all entries 0) is possible when no positive one helps.
//   multibit: multibit.h.
//   adaptive: kmeans1d.h. Fewer distinct weights than K: the distinct weights.
// Error for no weights, NaN or infinity (with its position), importance of another length, negative
// or not finite. Same bits for any number of threads.
//
// Cost: adaptive and scaled sort the weights. Floor, n weights: 4 n bytes read to count and 4 n
// read, 8 n written (write-allocate) to spread, 8 n + 8 n to sort the buckets, 5 n to assign, about
// 37 n bytes; 10 million weights at 10 GB/s: 37 ms. Memory beyond input and indices: 8 n + 0.75 n
// bytes (16.75 n with importance).
CodebookFit fit(const CodebookSpec& spec, std::span<const float> weights,
                std::span<const float> importance = {}, const FitOptions& options = {});

// One codebook per group of rows.
struct GroupedFit {
  std::int64_t groups = 0, k = 0;
  std::vector<float> entries;         // [groups][k]; a group with fewer repeats its last entry
  std::vector<float> scales;          // [groups]
  std::vector<std::uint8_t> indices;  // one per weight, or per vector
  double error = 0;                   // as above, over all groups
  double changed = 1;
};

// weights: [rows, n / rows] row-major; groups of group_rows rows, the last may be shorter. A warm
// start must have the same groups. Groups run in parallel.
GroupedFit fit_row_groups(const CodebookSpec& spec, std::span<const float> weights,
                          std::int64_t rows, std::int64_t group_rows,
                          std::span<const float> importance = {},
                          const GroupedFit* warm_start = nullptr, FitOptions options = {});

// The spec's entries with the best scale for each of its blocks: `groups` is 1, `entries` are those
// of the spec, `scales` [rows * blocks per row], weight i has entries[index] * scale. Importance,
// errors and threads as in fit().
GroupedFit fit_blocks(const CodebookSpec& spec, std::span<const float> weights, std::int64_t rows,
                      std::span<const float> importance = {},
                      const GroupedFit* warm_start = nullptr, FitOptions options = {});

// Codebooks of vectors: `entries` [groups][k][vector_len], every weight of a vector counting by its
// own importance. k-means++ and Lloyd's alternation: a local minimum, the same in every run; from a
// warm start's entries the error never rises. Error where vectors do not divide the rows.
// A round costs 3 k flops a weight.
GroupedFit fit_vectors(const CodebookSpec& spec, std::span<const float> weights, std::int64_t rows,
                       std::int64_t group_rows, std::span<const float> importance = {},
                       const GroupedFit* warm_start = nullptr, FitOptions options = {});

// ||w - Delta|| / ||w||, Delta the decoded fit. 0 for a perfect fit, infinity where only w is zero.
double quantization_error(std::span<const float> weights, const CodebookFit& fit);
double quantization_error(std::span<const float> weights, std::int64_t rows,
                          std::int64_t group_rows, const GroupedFit& fit);

// Shannon entropy of the indices in bits per index, the bound of any lossless coder that treats
// them as independent. 0 for none.
double index_entropy(std::span<const std::uint8_t> indices);
// The same by how often each index occurs.
double count_entropy(std::span<const std::int64_t> counts);

}  // namespace tessera::quant
