// What gradients are written as when they travel: f32, bf16, or indices into a codebook that is
// fitted to them in every step. What a code loses is for the caller to remember (error feedback).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tessera {

struct GradientCode {
  enum class Kind { f32, bf16, codebook };
  Kind kind = Kind::f32;
  int entries = 0;  // codebook: 2, 4, 16 or 256

  bool loses() const { return kind != Kind::f32; }
  std::string text() const;  // "f32", "bf16", "codebook:16"
  // Throws Error for anything else.
  static GradientCode parse(const std::string& text);
  friend bool operator==(const GradientCode&, const GradientCode&) = default;

  // Of n numbers of one tensor. A codebook costs its entries, so few numbers are written as f32.
  std::int64_t bytes(std::int64_t n) const;
  // Writes bytes(values.size()) bytes, a function of the values alone.
  void encode(std::span<const float> values, std::byte* to) const;
  // values.size() numbers.
  void decode(const std::byte* from, std::span<float> values) const;

 private:
  bool coded(std::int64_t n) const;
};

}  // namespace tessera
