// Encodings: how the elements of a tensor are kept. Part of the type; codebook values are data.
//
// Everything that depends on the physical form (planes, bytes, text, decoding) is asked of the
// Encoding. A new encoding is one class in encoding.cpp plus kernel rows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace tessera {

// One contiguous run of bytes of a stored value.
struct Plane {
  std::string name;  // "" for a dense value, else "indices", "entries", "scale"
  DType dtype;
  Shape shape;
  std::int64_t bytes() const { return shape.numel() * size_of(dtype); }
};

// Parameters of codebook storage. Rows are axis 0 of the logical weight; the row length is the
// product of the other axes. Indices are LSB-first and contiguous over the tensor, no padding.
struct CodebookFormat {
  int bits = 4;                    // 1..8; the number of entries is at most 2^bits and is data
  DType entry_dtype = DType::f32;  // f32, bf16 or s8
  std::int64_t group_rows = 0;   // entries per this many rows (last group may be short); 0: tensor
  std::int64_t scale_block = 0;  // 0: no scale; kScalePerRow; else per block along the row
  int vector_len = 1;            // one index covers this many consecutive elements of a row

  static constexpr std::int64_t kScalePerRow = -1;
  friend bool operator==(const CodebookFormat&, const CodebookFormat&) = default;

  // Throws Error when the format is impossible, or does not fit `shape`.
  void validate() const;
  void validate(const Shape& shape) const;

  std::int64_t max_entries() const { return std::int64_t{1} << bits; }
  static std::int64_t rows(const Shape& shape);
  static std::int64_t row_length(const Shape& shape);
  std::int64_t index_count(const Shape& shape) const;
  std::int64_t index_bytes(const Shape& shape) const;
  std::int64_t groups(const Shape& shape) const;
  std::int64_t block_length(const Shape& shape) const;            // 0 without scale
  std::int64_t blocks_per_row(const Shape& shape) const;          // 0 without scale
  Shape indices_shape(const Shape& shape) const;                  // u8 [bytes]
  Shape entries_shape(const Shape& shape, std::int64_t k) const;  // [groups, k] or [groups, k, d]
  Shape scale_shape(const Shape& shape) const;                    // [rows, blocks]
};

// Which index, entry and scale belong to element i of a codebook tensor, in row-major order; the
// planes are those of Encoding::planes. What a codebook means, for all that is not a kernel.
class CodebookLayout {
 public:
  // `entries` of each group.
  CodebookLayout(const CodebookFormat& format, const Shape& shape, std::int64_t entries);

  std::int64_t index_of(std::int64_t i) const { return i / format_.vector_len; }
  // The index of element i, as the plane of indices says; Error when there is no such entry.
  std::int64_t index(const std::uint8_t* plane, std::int64_t i) const;
  std::int64_t entry(std::int64_t i, std::int64_t index) const {
    const std::int64_t d = format_.vector_len;
    return (i / group_length_ * entries_ + index) * d + i % d;
  }
  bool has_scale() const { return block_ != 0; }
  std::int64_t scale(std::int64_t i) const {
    return i / row_length_ * blocks_ + i % row_length_ / block_;
  }

 private:
  CodebookFormat format_;
  std::int64_t entries_, row_length_, group_length_, block_, blocks_;
};

class Encoding {
 public:
  Encoding() = default;  // dense
  // `entries` of each group; 0: not said, as in a type that was read from its text.
  static Encoding codebook(const CodebookFormat& format, std::int64_t entries = 0);
  // A kernel's own arrangement of a value that is stored as `of`. `layout` names it, `plane_bytes`
  // is what the kernel that reads it asked for.
  static Encoding packed(std::string layout, std::int64_t plane_bytes, const Encoding& of);

  bool is_dense() const { return impl_ == nullptr; }
  // Codebook storage, packed or not.
  bool is_codebook() const { return codebook_format() != nullptr; }
  // The codebook format behind this encoding (also through Packed), or nullptr.
  const CodebookFormat* codebook_format() const;
  // Its entries of each group; 0 when there is no codebook, or nobody said.
  std::int64_t entries() const;
  // The layout name of a Packed encoding, "" otherwise.
  std::string_view packed_layout() const;
  // What a Packed value is made of; any other encoding is itself.
  Encoding stored() const;

  // The planes of a value with this dtype and shape.
  std::vector<Plane> planes(DType dtype, const Shape& shape) const;
  // Suffix of the text form: "" when dense, "cb4", "cb4:bf16/g64s32v2", "panel16<cb4>".
  std::string text() const;

  friend bool operator==(const Encoding& a, const Encoding& b);
  // Equal as far as the text says, which leaves out the number of entries.
  bool agrees(const Encoding& other) const;

  class Impl;

 private:
  explicit Encoding(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// Parses the text form of dense ("") and codebook encodings; throws Error.
Encoding parse_encoding(std::string_view text);

struct TensorType {
  DType dtype = DType::f32;
  Shape shape;
  Encoding encoding;

  TensorType dense() const { return {dtype, shape, {}}; }
  TensorType bind(std::int64_t batch) const { return {dtype, shape.bind(batch), encoding}; }
  std::string text() const;  // "f32[512,784]@cb4"
  // Whether a type that was read from text can be this one.
  bool agrees(const TensorType& read) const {
    return dtype == read.dtype && shape == read.shape && encoding.agrees(read.encoding);
  }
  friend bool operator==(const TensorType&, const TensorType&) = default;
};

TensorType parse_type(std::string_view text);

inline TensorType f32(std::initializer_list<Dim> dims) {
  return {DType::f32, Shape(dims), {}};
}
inline TensorType s32(std::initializer_list<Dim> dims) {
  return {DType::s32, Shape(dims), {}};
}

// Reads the index at position i of an LSB-first stream; the definition of the bit order.
inline std::uint32_t index_at(const std::uint8_t* stream, int bits, std::int64_t i) {
  const std::int64_t bit = i * bits;
  const std::uint32_t low = stream[bit >> 3];
  const int shift = static_cast<int>(bit & 7);
  const std::uint32_t high = shift + bits > 8 ? stream[(bit >> 3) + 1] : 0u;
  return ((low | (high << 8)) >> shift) & ((1u << bits) - 1u);
}
// Puts an index there; the plane was zero before.
inline void put_index(std::uint8_t* stream, int bits, std::int64_t i, std::uint32_t index) {
  const std::int64_t bit = i * bits;
  const std::uint32_t value = index << (bit & 7);
  stream[bit >> 3] |= static_cast<std::uint8_t>(value);
  if (value >> 8) stream[(bit >> 3) + 1] |= static_cast<std::uint8_t>(value >> 8);
}

}  // namespace tessera
