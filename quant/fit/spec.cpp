#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "core/encoding.h"
#include "core/error.h"
#include "quant/fit/fit.h"

namespace tessera::quant {
namespace {

constexpr int kMostEntries = 256;
constexpr int kMostExponent = 126;  // 2^-126 is the smallest normal float

std::vector<float> power_entries(int most) {
  check(most >= 0 && most <= kMostExponent, "pow2:", most, ": the exponent must be in 0..",
        kMostExponent);
  std::vector<float> entries{0};
  for (int exponent = 0; exponent <= most; ++exponent) {
    entries.push_back(std::ldexp(1.0f, -exponent));
    entries.push_back(-entries.back());
  }
  return entries;
}

constexpr std::array kNf4 = {-1.0f,
                             -0.6961928009986877f,
                             -0.5250730514526367f,
                             -0.39491748809814453f,
                             -0.28444138169288635f,
                             -0.18477343022823334f,
                             -0.09105003625154495f,
                             0.0f,
                             0.07958029955625534f,
                             0.16093020141124725f,
                             0.24611230194568634f,
                             0.33791524171829224f,
                             0.44070982933044434f,
                             0.5626170039176941f,
                             0.7229568362236023f,
                             1.0f};

std::vector<float> integers(int bits) {
  std::vector<float> out;
  for (int k = -(1 << (bits - 1)); k < 1 << (bits - 1); ++k) out.push_back(static_cast<float>(k));
  return out;
}

// The C of a power-of-two codebook.
std::optional<int> power_of(const std::vector<float>& entries) {
  if (entries.size() < 5 || entries.size() % 2 == 0) return std::nullopt;
  const int most = static_cast<int>(entries.size() - 3) / 2;
  std::vector<float> expected = power_entries(most);
  std::sort(expected.begin(), expected.end());
  return entries == expected ? std::optional(most) : std::nullopt;
}

template <class Number>
Number number(std::string_view word, std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  check(error == std::errc() && end == word.data() + word.size(), "codebook '", text, "': '", word,
        "' is not a number");
  return value;
}

std::string shortest(float value) {
  std::array<char, 32> buffer;
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), result.ptr};
}

}  // namespace

CodebookSpec::CodebookSpec(Kind kind, int size, std::vector<float> entries)
    : kind_(kind), size_(size), entries_(std::move(entries)) {
  check(size_ >= 1 && size_ <= kMostEntries, "a codebook has 1..", kMostEntries, " entries, not ",
        size_);
  for (float& entry : entries_) {
    check(std::isfinite(entry), "codebook entry ", entry, " is not finite");
    entry += 0.0f;  // -0 becomes 0
  }
  std::sort(entries_.begin(), entries_.end());
  const auto twice = std::adjacent_find(entries_.begin(), entries_.end());
  check(twice == entries_.end(), "codebook entry ", twice == entries_.end() ? 0.0f : *twice,
        " is given twice");
}

CodebookSpec CodebookSpec::adaptive(int entries) {
  return {Kind::kAdaptive, entries, {}};
}

CodebookSpec CodebookSpec::fixed(std::vector<float> entries) {
  const auto size = static_cast<int>(std::min<std::size_t>(entries.size(), kMostEntries + 1));
  return {Kind::kFixed, size, std::move(entries)};
}

CodebookSpec CodebookSpec::scaled(std::vector<float> entries) {
  CodebookSpec spec = fixed(std::move(entries));
  spec.kind_ = Kind::kScaled;
  return spec;
}

CodebookSpec CodebookSpec::multibit(int bits) {
  check(bits >= 1 && bits <= 8, "multibit:", bits, ": the bits must be in 1..8");
  return {Kind::kMultibit, 1 << bits, {}};
}

CodebookSpec CodebookSpec::vectors(int entries, int length) {
  check(length >= 2 && length <= 16, "vector:", entries, "x", length,
        ": vectors have 2 to 16 weights");
  CodebookSpec spec{Kind::kVector, entries, {}};
  spec.vector_len_ = length;
  return spec;
}

CodebookSpec CodebookSpec::powers_of_two(int most_negative_exponent) {
  return fixed(power_entries(most_negative_exponent));
}

CodebookSpec CodebookSpec::scaled_powers_of_two(int most_negative_exponent) {
  return scaled(power_entries(most_negative_exponent));
}

CodebookSpec CodebookSpec::uniform(int bits) {
  check(bits >= 2 && bits <= 8, "uniform:", bits, ": the bits must be in 2..8");
  return scaled(integers(bits));
}

bool CodebookSpec::is_uniform() const {
  return kind_ == Kind::kScaled && entries_ == integers(bits());
}

CodebookSpec CodebookSpec::nf4() {
  return scaled({kNf4.begin(), kNf4.end()});
}

CodebookSpec CodebookSpec::with_scale_block(std::int64_t block) const {
  if (block != 0 && kind_ != Kind::kScaled) {
    fail("codebook ", text(),
         " has no scale; a scale per block needs nf4, uniform:B, scaled:A,B,... or a -scaled one");
  }
  check(block >= CodebookFormat::kScalePerRow, "a scale per ", block, " weights");
  CodebookSpec out = *this;
  out.scale_block_ = block;
  return out;
}

CodebookSpec CodebookSpec::parse(std::string_view text) {
  if (const std::size_t at = text.find('@'); at != text.npos) {
    const std::string_view block = text.substr(at + 1);
    if (block == "row")
      return parse(text.substr(0, at)).with_scale_block(CodebookFormat::kScalePerRow);
    const auto length = number<std::int64_t>(block, text);
    check(length >= 1, "codebook '", text, "': expected row or the weights of a block, got '",
          block, "'");
    return parse(text.substr(0, at)).with_scale_block(length);
  }
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const std::string_view rest = colon == text.npos ? "" : text.substr(colon + 1);
  if (colon == text.npos) {
    if (name == "binary") return binary();
    if (name == "ternary") return ternary();
    if (name == "binary-scaled") return scaled_binary();
    if (name == "ternary-scaled") return scaled_ternary();
    if (name == "nf4") return nf4();
  } else {
    if (name == "adaptive") return adaptive(number<int>(rest, text));
    if (name == "multibit") return multibit(number<int>(rest, text));
    if (name == "uniform") return uniform(number<int>(rest, text));
    if (name == "vector") {
      const std::size_t by = rest.find('x');
      check(by != rest.npos, "codebook '", text, "': expected vector:ENTRIESxLENGTH");
      return vectors(number<int>(rest.substr(0, by), text), number<int>(rest.substr(by + 1), text));
    }
    if (name == "pow2") return powers_of_two(number<int>(rest, text));
    if (name == "pow2-scaled") return scaled_powers_of_two(number<int>(rest, text));
    if (name == "fixed" || name == "scaled") {
      std::vector<float> entries;
      for (std::size_t begin = 0; begin <= rest.size();) {
        const std::size_t comma = std::min(rest.find(',', begin), rest.size());
        entries.push_back(number<float>(rest.substr(begin, comma - begin), text));
        begin = comma + 1;
      }
      return name == "fixed" ? fixed(std::move(entries)) : scaled(std::move(entries));
    }
  }
  fail(
      "unknown codebook '", text,
      "'; use adaptive:K, binary, ternary, binary-scaled, ternary-scaled, pow2:C, pow2-scaled:C, "
      "multibit:B, fixed:A,B,..., vector:KxD, nf4, uniform:B or scaled:A,B,...; @64 or @row behind "
      "a scaled one gives it a scale per block of weights");
}

int CodebookSpec::bits() const {
  return std::max(1, static_cast<int>(std::bit_width(static_cast<unsigned>(size_ - 1))));
}

CodebookFormat CodebookSpec::format(std::int64_t group_rows) const {
  CodebookFormat out;
  out.bits = bits();
  out.group_rows = group_rows;
  out.scale_block = scale_block_;
  out.vector_len = vector_len_;
  return out;
}

std::string CodebookSpec::text() const {
  if (scale_block_ != 0) {
    return cat(with_scale_block(0).text(), "@",
               scale_block_ == CodebookFormat::kScalePerRow ? "row" : std::to_string(scale_block_));
  }
  if (kind_ == Kind::kVector) return cat("vector:", size_, "x", vector_len_);
  if (kind_ == Kind::kAdaptive) return cat("adaptive:", size_);
  if (kind_ == Kind::kMultibit) return cat("multibit:", bits());
  const bool scaled = kind_ == Kind::kScaled;
  if (entries_ == std::vector<float>{-1, 1}) return scaled ? "binary-scaled" : "binary";
  if (entries_ == std::vector<float>{-1, 0, 1}) return scaled ? "ternary-scaled" : "ternary";
  if (scaled && entries_ == std::vector<float>(kNf4.begin(), kNf4.end())) return "nf4";
  for (int bits = 2; scaled && bits <= 8; ++bits) {
    if (entries_ == integers(bits)) return cat("uniform:", bits);
  }
  if (const auto power = power_of(entries_)) return cat(scaled ? "pow2-scaled:" : "pow2:", *power);
  std::string text = scaled ? "scaled:" : "fixed:";
  for (std::size_t k = 0; k < entries_.size(); ++k) text += (k ? "," : "") + shortest(entries_[k]);
  return text;
}

}  // namespace tessera::quant
