#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "core/error.h"
#include "quant/fit.h"

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

CodebookSpec CodebookSpec::powers_of_two(int most_negative_exponent) {
  return fixed(power_entries(most_negative_exponent));
}

CodebookSpec CodebookSpec::scaled_powers_of_two(int most_negative_exponent) {
  return scaled(power_entries(most_negative_exponent));
}

CodebookSpec CodebookSpec::parse(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const std::string_view rest = colon == text.npos ? "" : text.substr(colon + 1);
  if (colon == text.npos) {
    if (name == "binary") return binary();
    if (name == "ternary") return ternary();
    if (name == "binary-scaled") return scaled_binary();
    if (name == "ternary-scaled") return scaled_ternary();
  } else {
    if (name == "adaptive") return adaptive(number<int>(rest, text));
    if (name == "multibit") return multibit(number<int>(rest, text));
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
  fail("unknown codebook '", text,
       "'; use adaptive:K, binary, ternary, binary-scaled, ternary-scaled, pow2:C, pow2-scaled:C, "
       "multibit:B, fixed:A,B,... or scaled:A,B,...");
}

int CodebookSpec::bits() const {
  return std::max(1, static_cast<int>(std::bit_width(static_cast<unsigned>(size_ - 1))));
}

std::string CodebookSpec::text() const {
  if (kind_ == Kind::kAdaptive) return cat("adaptive:", size_);
  if (kind_ == Kind::kMultibit) return cat("multibit:", bits());
  const bool scaled = kind_ == Kind::kScaled;
  if (entries_ == std::vector<float>{-1, 1}) return scaled ? "binary-scaled" : "binary";
  if (entries_ == std::vector<float>{-1, 0, 1}) return scaled ? "ternary-scaled" : "ternary";
  if (const auto power = power_of(entries_)) return cat(scaled ? "pow2-scaled:" : "pow2:", *power);
  std::string text = scaled ? "scaled:" : "fixed:";
  for (std::size_t k = 0; k < entries_.size(); ++k) text += (k ? "," : "") + shortest(entries_[k]);
  return text;
}

}  // namespace tessera::quant
