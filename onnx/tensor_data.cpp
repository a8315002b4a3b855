// Elements of an ONNX tensor: in the file as raw bytes or lists of numbers, or in a file beside it.
#include <charconv>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "core/text.h"
#include "onnx/proto.h"

namespace tessera::onnx {

namespace {

DType dtype_of(ElementType type) {
  switch (type) {
    case ElementType::f32:
    case ElementType::f64:
    case ElementType::f16:
    case ElementType::bf16:
      return DType::f32;
    case ElementType::u8:
    case ElementType::u4:
    case ElementType::u2:
      return DType::u8;
    case ElementType::s8:
    case ElementType::s4:
    case ElementType::s2:
      return DType::s8;
    case ElementType::s32:
      return DType::s32;
    default:
      return DType::s64;
  }
}

template <class T>
T read_as(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

double element_of(const char* bytes, ElementType type) {
  switch (type) {
    case ElementType::f64:
      return read_as<double>(bytes);
    case ElementType::f16:
      return f32_from_f16(read_as<std::uint16_t>(bytes));
    case ElementType::bf16:
      return f32_from_bf16(read_as<std::uint16_t>(bytes));
    case ElementType::u16:
      return read_as<std::uint16_t>(bytes);
    case ElementType::s16:
      return read_as<std::int16_t>(bytes);
    case ElementType::u32:
      return read_as<std::uint32_t>(bytes);
    default:  // bool
      return static_cast<unsigned char>(*bytes);
  }
}

// Elements of 4 or 2 bits, the first in the lowest ones.
void unpack(std::string_view raw, ElementType type, Tensor& out) {
  const int bits = bits_of(type);
  const bool is_signed = type == ElementType::s4 || type == ElementType::s2;
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const auto byte = static_cast<unsigned char>(raw[static_cast<std::size_t>(i * bits / 8)]);
    int value = byte >> (i * bits % 8) & ((1 << bits) - 1);
    if (is_signed && value >= 1 << (bits - 1)) value -= 1 << bits;
    out.data()[i] = static_cast<std::byte>(value);
  }
}

void from_raw(std::string_view raw, ElementType type, Tensor& out) {
  const int bits = bits_of(type);
  const std::int64_t expected = (out.numel() * bits + 7) / 8;
  check(static_cast<std::int64_t>(raw.size()) == expected, "expected ", expected, " bytes for ",
        name(type), out.shape().text(), ", got ", raw.size());
  if (bits < 8) return unpack(raw, type, out);
  if (out.numel() == 0) return;
  if (bits == 8 * size_of(out.dtype()) && type != ElementType::u64) {
    std::memcpy(out.data(), raw.data(), raw.size());
    return;
  }
  if (type == ElementType::u64) {
    std::memcpy(out.data(), raw.data(), raw.size());
    for (const std::int64_t value : out.span<std::int64_t>())
      check(value >= 0, "an unsigned number is beyond 2^63");
    return;
  }
  for (std::int64_t i = 0; i < out.numel(); ++i)
    set_element(out, i, element_of(raw.data() + i * bits / 8, type));
}

void from_lists(const TensorProto& proto, Tensor& out) {
  const bool halves = proto.type == ElementType::f16 || proto.type == ElementType::bf16;
  const bool packed = bits_of(proto.type) < 8;
  const std::size_t n = proto.type == ElementType::f64   ? proto.doubles.size()
                        : proto.type == ElementType::f32 ? proto.reals.size()
                                                         : proto.integers.size();
  const std::int64_t per = packed ? 8 / bits_of(proto.type) : 1;
  const std::int64_t expected = (out.numel() + per - 1) / per;
  check(static_cast<std::int64_t>(n) == expected, "expected ", expected, " numbers for ",
        name(proto.type), out.shape().text(), ", got ", n);
  if (packed) {
    std::string bytes;
    for (const std::int64_t v : proto.integers) bytes.push_back(static_cast<char>(v));
    return unpack(bytes, proto.type, out);
  }
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (proto.type == ElementType::f32) {
      out.span<float>()[at] = proto.reals[at];
    } else if (proto.type == ElementType::f64) {
      set_element(out, i, proto.doubles[at]);
    } else if (halves) {
      const auto half = static_cast<std::uint16_t>(proto.integers[at]);
      out.span<float>()[at] =
          proto.type == ElementType::f16 ? f32_from_f16(half) : f32_from_bf16(half);
    } else if (out.dtype() == DType::s64) {
      out.span<std::int64_t>()[at] = proto.integers[at];
    } else {
      set_element(out, i, static_cast<double>(proto.integers[at]));
    }
  }
}

std::int64_t number_of(const TensorProto& proto, std::string_view key, std::int64_t fallback) {
  const auto found = proto.external.find(key);
  if (found == proto.external.end()) return fallback;
  std::int64_t out = 0;
  const char* end = found->second.data() + found->second.size();
  const auto [stop, error] = std::from_chars(found->second.data(), end, out);
  check(error == std::errc() && stop == end && out >= 0, "external data: ", key,
        " is no number: ", quote(found->second));
  return out;
}

std::string external_bytes(const TensorProto& proto, std::int64_t bytes,
                           const std::filesystem::path& folder) {
  const auto location = proto.external.find("location");
  check(location != proto.external.end(), "external data without a location");
  const std::filesystem::path path(location->second);
  bool inside =
      !path.empty() && path.is_relative() && location->second.find('\0') == std::string_view::npos;
  for (const auto& part : path) inside = inside && part != "..";
  check(inside, "external data in ", quote(location->second),
        ": expected a file in the model's folder, without '..'");
  const std::filesystem::path file = folder / path;
  std::error_code error;
  check(std::filesystem::is_regular_file(file, error), "external data in ", quote(file.string()),
        ", which is no file");
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(file, error));
  const std::int64_t offset = number_of(proto, "offset", 0);
  const std::int64_t length = number_of(proto, "length", bytes);
  check(length == bytes, "external data of ", length, " bytes, expected ", bytes);
  check(!error && offset <= size && length <= size - offset, "external data in ",
        quote(file.string()), ": bytes ", offset, " to ", offset, " + ", length, " are not in its ",
        size);
  std::string out(static_cast<std::size_t>(length), '\0');
  std::ifstream in(file, std::ios::binary);
  in.seekg(offset);
  check(in.read(out.data(), length).good() || length == 0, quote(file.string()), " cannot be read");
  return out;
}

}  // namespace

Tensor read_tensor(const TensorProto& proto, const std::filesystem::path& folder) {
  const std::int64_t n = proto.numel();
  const int bits = bits_of(proto.type);
  check(bits != 0, "a tensor of ", name(proto.type), " cannot be read");
  const std::int64_t bytes = (n * bits + 7) / 8;
  std::string outside;
  if (!proto.external.empty()) {
    outside = external_bytes(proto, bytes, folder);
  } else if (proto.raw) {  // before anything of the declared size is allocated
    check(static_cast<std::int64_t>(proto.raw->size()) == bytes, "expected ", bytes, " bytes for ",
          name(proto.type), Shape::of(proto.dims).text(), ", got ", proto.raw->size());
  } else {
    const std::int64_t there = static_cast<std::int64_t>(proto.integers.size() * 4 +
                                                         proto.reals.size() + proto.doubles.size());
    check(n <= there, "expected ", n, " numbers for ", name(proto.type),
          Shape::of(proto.dims).text(), ", got ", there);
  }
  Tensor out(dtype_of(proto.type), Shape::of(proto.dims));
  if (!proto.external.empty()) {
    from_raw(outside, proto.type, out);
  } else if (proto.raw) {
    from_raw(*proto.raw, proto.type, out);
  } else {
    from_lists(proto, out);
  }
  return out;
}

}  // namespace tessera::onnx
