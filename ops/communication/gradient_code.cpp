// A codebook is the least-squares one of a sample of the values (Lloyd 1957), sorted so that sums
// over cells are differences of prefix sums; with two entries it is the mean of the negative and of
// the other values, of all of them (Seide et al. 2014).
#include "ops/communication/gradient_code.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/tensor.h"

namespace tessera {

namespace {

constexpr std::int64_t kSample = 4096;
constexpr int kRounds = 25;
constexpr int kMostEntries = 256;
constexpr std::int64_t kLeastPerEntry = 16;  // numbers, or the entries are too large a part
constexpr const char* kCodebook = "codebook:";

int bits_of(int entries) {
  int bits = 0;
  while ((1 << bits) < entries) ++bits;
  return bits;
}

void two_means(std::span<const float> values, std::span<float> entries) {
  std::array<double, 2> sum{}, count{};
  for (const float v : values) {
    const std::size_t side = v >= 0;
    sum[side] += v;
    count[side] += 1;
  }
  for (std::size_t i = 0; i < 2; ++i)
    entries[i] = count[i] > 0 ? static_cast<float>(sum[i] / count[i]) : 0.0f;
}

// Entries of sorted values, ascending.
void lloyd(const std::vector<float>& sorted, std::span<float> entries) {
  const std::size_t n = sorted.size(), k = entries.size();
  std::vector<double> before(n + 1, 0.0);
  for (std::size_t i = 0; i < n; ++i) before[i + 1] = before[i] + sorted[i];
  for (std::size_t j = 0; j < k; ++j)
    entries[j] = sorted[std::min(n - 1, (2 * j + 1) * n / (2 * k))];
  for (int round = 0; round < kRounds; ++round) {
    std::size_t begin = 0;
    for (std::size_t j = 0; j < k; ++j) {
      std::size_t end = n;
      if (j + 1 < k) {
        const float edge = 0.5f * (entries[j] + entries[j + 1]);
        end = static_cast<std::size_t>(
            std::upper_bound(sorted.begin() + static_cast<std::ptrdiff_t>(begin), sorted.end(),
                             edge) -
            sorted.begin());
      }
      if (end > begin) {
        entries[j] =
            static_cast<float>((before[end] - before[begin]) / static_cast<double>(end - begin));
      }
      begin = end;
    }
    std::sort(entries.begin(), entries.end());
  }
}

void fit(std::span<const float> values, std::span<float> entries) {
  if (entries.size() == 2) return two_means(values, entries);
  const auto n = static_cast<std::int64_t>(values.size());
  const std::int64_t step = std::max<std::int64_t>(1, n / kSample);
  std::vector<float> sample;
  for (std::int64_t i = 0; i < n; i += step) sample.push_back(values[static_cast<std::size_t>(i)]);
  std::sort(sample.begin(), sample.end());
  lloyd(sample, entries);
}

// The index of the nearest entry, which counts the edges at or below the value.
void nearest(std::span<const float> values, std::span<const float> entries, std::uint8_t* to) {
  std::array<float, kMostEntries> edges;
  const std::size_t k = entries.size();
  for (std::size_t j = 0; j + 1 < k; ++j) edges[j] = 0.5f * (entries[j] + entries[j + 1]);
  if (k == 2) edges[0] = 0;  // by sign, as the means were taken
  if (k <= 16) {
    std::fill_n(to, values.size(), std::uint8_t{0});
    for (std::size_t j = 0; j + 1 < k; ++j) {
      const float edge = edges[j];
      for (std::size_t i = 0; i < values.size(); ++i)
        to[i] = static_cast<std::uint8_t>(to[i] + (values[i] >= edge));
    }
    return;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::size_t at = 0;
    for (std::size_t half = k / 2; half > 0; half /= 2)
      at += values[i] >= edges[at + half - 1] ? half : 0;
    to[i] = static_cast<std::uint8_t>(at);
  }
}

}  // namespace

std::string GradientCode::text() const {
  if (kind == Kind::codebook) return kCodebook + std::to_string(entries);
  return kind == Kind::bf16 ? "bf16" : "f32";
}

GradientCode GradientCode::parse(const std::string& text) {
  for (const GradientCode& code :
       {GradientCode{}, GradientCode{Kind::bf16}, GradientCode{Kind::codebook, 2},
        GradientCode{Kind::codebook, 4}, GradientCode{Kind::codebook, 16},
        GradientCode{Kind::codebook, 256}}) {
    if (code.text() == text) return code;
  }
  fail("gradients travel as f32, bf16, codebook:2, codebook:4, codebook:16 or codebook:256, got '",
       text, "'");
}

bool GradientCode::coded(std::int64_t n) const {
  return kind == Kind::codebook && n >= kLeastPerEntry * entries;
}

std::int64_t GradientCode::bytes(std::int64_t n) const {
  if (kind == Kind::bf16) return 2 * n;
  if (!coded(n)) return 4 * n;
  // Whole words, so that what stands behind is aligned.
  return 4 * entries + (n * bits_of(entries) + 31) / 32 * 4;
}

void GradientCode::encode(std::span<const float> values, std::byte* to) const {
  const auto n = static_cast<std::int64_t>(values.size());
  if (kind == Kind::bf16) {
    auto* out = reinterpret_cast<std::uint16_t*>(to);
    for (std::size_t i = 0; i < values.size(); ++i) out[i] = bf16_from_f32(values[i]);
    return;
  }
  if (!coded(n)) {
    if (n > 0) std::memcpy(to, values.data(), values.size_bytes());
    return;
  }
  auto* table = reinterpret_cast<float*>(to);
  const std::span<float> fitted(table, static_cast<std::size_t>(entries));
  fit(values, fitted);
  auto* out = reinterpret_cast<std::uint8_t*>(to + 4 * entries);
  const int bits = bits_of(entries), each = 8 / bits;
  constexpr std::size_t kBlock = 1024;
  std::array<std::uint8_t, kBlock> index;
  for (std::size_t first = 0; first < values.size(); first += kBlock) {
    const std::size_t count = std::min(kBlock, values.size() - first);
    nearest(values.subspan(first, count), fitted, index.data());
    std::fill(index.begin() + static_cast<std::ptrdiff_t>(count), index.end(), std::uint8_t{0});
    for (std::size_t i = 0; i < count; i += static_cast<std::size_t>(each)) {
      unsigned packed = 0;
      for (int j = 0; j < each; ++j)
        packed |= static_cast<unsigned>(index[i + static_cast<std::size_t>(j)]) << (j * bits);
      *out++ = static_cast<std::uint8_t>(packed);
    }
  }
  std::memset(out, 0, static_cast<std::size_t>(to + bytes(n) - reinterpret_cast<std::byte*>(out)));
}

void GradientCode::decode(const std::byte* from, std::span<float> values) const {
  const auto n = static_cast<std::int64_t>(values.size());
  if (kind == Kind::bf16) {
    const auto* in = reinterpret_cast<const std::uint16_t*>(from);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = f32_from_bf16(in[i]);
    return;
  }
  if (!coded(n)) {
    if (n > 0) std::memcpy(values.data(), from, values.size_bytes());
    return;
  }
  const auto* table = reinterpret_cast<const float*>(from);
  const auto* in = reinterpret_cast<const std::uint8_t*>(from + 4 * entries);
  const int bits = bits_of(entries);
  const auto each = static_cast<std::size_t>(8 / bits);
  const unsigned mask = (1u << bits) - 1;
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = table[(in[i / each] >> (i % each * static_cast<unsigned>(bits))) & mask];
}

}  // namespace tessera
