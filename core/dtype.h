// Scalar types. The table below is the only place that lists them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tessera {

enum class DType : std::uint8_t { f32, bf16, s8, u8, s32, s64 };

struct DTypeInfo {
  DType dtype;
  std::string_view name;  // text form, also the field's usual name
  std::int64_t bytes;
  bool floating;
  std::string_view safetensors;  // name in a safetensors header
};

inline constexpr std::array kDTypes = {
    DTypeInfo{DType::f32, "f32", 4, true, "F32"},  DTypeInfo{DType::bf16, "bf16", 2, true, "BF16"},
    DTypeInfo{DType::s8, "s8", 1, false, "I8"},    DTypeInfo{DType::u8, "u8", 1, false, "U8"},
    DTypeInfo{DType::s32, "s32", 4, false, "I32"}, DTypeInfo{DType::s64, "s64", 8, false, "I64"},
};

constexpr const DTypeInfo& info(DType dtype) {
  return kDTypes[static_cast<std::size_t>(dtype)];
}
constexpr std::string_view name(DType dtype) {
  return info(dtype).name;
}
constexpr std::int64_t size_of(DType dtype) {
  return info(dtype).bytes;
}
constexpr bool is_floating(DType dtype) {
  return info(dtype).floating;
}

constexpr std::optional<DType> parse_dtype(std::string_view text) {
  for (const auto& row : kDTypes) {
    if (row.name == text || row.safetensors == text) return row.dtype;
  }
  return std::nullopt;
}

// The C++ type of a dtype; bf16 is kept as its bits.
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<std::int8_t> {
  static constexpr DType value = DType::s8;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::s32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::s64;
};

// Round-to-nearest-even conversion between f32 and the bits of bf16; NaN stays NaN.
std::uint16_t bf16_from_f32(float value);
float f32_from_bf16(std::uint16_t bits);
// The exact value of IEEE half-precision bits.
float f32_from_f16(std::uint16_t bits);

}  // namespace tessera
