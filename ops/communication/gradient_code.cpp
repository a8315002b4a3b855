// A codebook is the least-squares one (Lloyd 1957) of a histogram of all values, which knows the
// rare large ones: an entry that never reaches them would leave more and more of them behind. With
// two entries it is the mean of the negative and of the other values (Seide et al. 2014).
#include "ops/communication/gradient_code.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/dtype.h"
#include "core/error.h"
#include "core/tensor.h"

namespace tessera {

namespace {

constexpr std::size_t kBins = 2048;
constexpr int kRounds = 30;
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

// How many values lie in each of kBins equal parts of their range, and their sum.
struct Histogram {
  float low = 0, high = 0;
  std::array<double, kBins> count{}, sum{};

  explicit Histogram(std::span<const float> values) {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    low = *least;
    high = *most;
    const float scale = high > low ? static_cast<float>(kBins) / (high - low) : 0.0f;
    for (const float v : values) {
      const float at = (v - low) * scale;
      const auto bin = at > 0 ? std::min(kBins - 1, static_cast<std::size_t>(at)) : std::size_t{0};
      count[bin] += 1;
      sum[bin] += static_cast<double>(v);
    }
  }
  // The bin of a value, for edges between entries.
  std::size_t above(float edge) const {
    if (!(high > low) || !std::isfinite(high - low)) return 0;
    const float at = (edge - low) / (high - low) * static_cast<float>(kBins);
    return static_cast<std::size_t>(std::clamp(at, 0.0f, static_cast<float>(kBins)));
  }
};

// Ascending. They begin as dense as the cube root of the values' density, which is right for many
// entries (Panter & Dite 1951).
void lloyd(const Histogram& h, std::span<float> entries) {
  std::array<double, kBins + 1> count{}, sum{}, root{};
  for (std::size_t i = 0; i < kBins; ++i) {
    count[i + 1] = count[i] + h.count[i];
    sum[i + 1] = sum[i] + h.sum[i];
    root[i + 1] = root[i] + std::cbrt(h.count[i]);
  }
  const std::size_t k = entries.size();
  const float width = (h.high - h.low) / static_cast<float>(kBins);
  std::size_t bin = 0;
  for (std::size_t j = 0; j < k; ++j) {
    const double target = root[kBins] * (static_cast<double>(j) + 0.5) / static_cast<double>(k);
    while (bin + 1 < kBins && root[bin + 1] < target) ++bin;
    entries[j] = h.low + (static_cast<float>(bin) + 0.5f) * width;
  }
  for (int round = 0; round < kRounds; ++round) {
    std::size_t begin = 0;
    for (std::size_t j = 0; j < k; ++j) {
      const std::size_t end =
          j + 1 < k ? std::max(begin, h.above(0.5f * (entries[j] + entries[j + 1]))) : kBins;
      const double n = count[end] - count[begin];
      if (n > 0) entries[j] = static_cast<float>((sum[end] - sum[begin]) / n);
      begin = end;
    }
    std::sort(entries.begin(), entries.end());
  }
}

// Of values that are no numbers the entries are none, on all ranks: the loss then says so.
void fit(std::span<const float> values, std::span<float> entries) {
  float nothing = 0;
  for (const float v : values) nothing += v * 0.0f;
  if (nothing != 0) {
    std::fill(entries.begin(), entries.end(), std::numeric_limits<float>::quiet_NaN());
    return;
  }
  if (entries.size() == 2) return two_means(values, entries);
  lloyd(Histogram(values), entries);
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
