#include "onnx/wire.h"

#include <cstring>

#include "core/error.h"

namespace tessera::onnx {

template <class... Args>
void FieldReader::bad(const Args&... args) const {
  fail("byte ", offset(), ": ", args...);
}

std::uint64_t FieldReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (at_ >= bytes_.size()) bad("the file ends inside a number");
    const auto byte = static_cast<unsigned char>(bytes_[at_++]);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  bad("expected a number of at most ten bytes");
}

bool FieldReader::next() {
  if (at_ >= bytes_.size()) return false;
  field_ = at_;
  const std::uint64_t tag = varint();
  if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) bad("expected a field of a message");
  number_ = static_cast<std::uint32_t>(tag >> 3);
  wire_ = static_cast<Wire>(tag & 7);
  std::size_t size = 0;
  switch (wire_) {
    case Wire::varint:
      number_value_ = varint();
      content_ = at_;
      break;
    case Wire::fixed32:
      size = 4;
      content_ = at_;
      break;
    case Wire::fixed64:
      size = 8;
      content_ = at_;
      break;
    case Wire::bytes: {
      const std::uint64_t length = varint();
      content_ = at_;
      if (length > bytes_.size() - at_) {
        bad("field ", number_, " has ", length, " bytes, of which ", bytes_.size() - at_,
            " are there");
      }
      size = static_cast<std::size_t>(length);
      break;
    }
    default:
      bad("field ", number_, " is of wire type ", tag & 7, ", which is none of ONNX's");
  }
  if (size > bytes_.size() - content_) bad("the file ends inside field ", number_);
  value_ = bytes_.substr(content_, size);
  at_ = content_ + size;
  return true;
}

void FieldReader::expect(Wire wire) const {
  if (wire_ != wire) {
    bad("field ", number_, " is of wire type ", static_cast<int>(wire_), ", expected ",
        static_cast<int>(wire));
  }
}

std::int64_t FieldReader::integer() const {
  expect(Wire::varint);
  return static_cast<std::int64_t>(number_value_);
}

float FieldReader::real() const {
  expect(Wire::fixed32);
  float out = 0;
  std::memcpy(&out, value_.data(), sizeof(out));
  return out;
}

std::string_view FieldReader::bytes() const {
  expect(Wire::bytes);
  return value_;
}

FieldReader FieldReader::message() const {
  expect(Wire::bytes);
  return FieldReader(value_, begin_ + static_cast<std::int64_t>(content_));
}

void FieldReader::integers(std::vector<std::int64_t>& out) const {
  if (wire_ == Wire::varint) {
    out.push_back(integer());
    return;
  }
  FieldReader packed = message();
  while (packed.at_ < packed.bytes_.size()) {
    packed.field_ = packed.at_;
    out.push_back(static_cast<std::int64_t>(packed.varint()));
  }
}

namespace {

template <class T>
void append(std::string_view bytes, std::vector<T>& out) {
  const std::size_t before = out.size(), n = bytes.size() / sizeof(T);
  if (n == 0) return;
  out.resize(before + n);
  std::memcpy(out.data() + before, bytes.data(), n * sizeof(T));
}

}  // namespace

void FieldReader::reals(std::vector<float>& out) const {
  if (wire_ != Wire::fixed32) expect(Wire::bytes);
  if (value_.size() % sizeof(float) != 0) bad("field ", number_, " is no list of reals");
  append(value_, out);
}

void FieldReader::doubles(std::vector<double>& out) const {
  if (wire_ != Wire::fixed64) expect(Wire::bytes);
  if (value_.size() % sizeof(double) != 0) bad("field ", number_, " is no list of reals");
  append(value_, out);
}

void FieldWriter::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<char>(value | 0x80));
  out_.push_back(static_cast<char>(value));
}

void FieldWriter::tag(std::uint32_t field, Wire wire) {
  varint(static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(wire));
}

void FieldWriter::integer(std::uint32_t field, std::int64_t value) {
  tag(field, Wire::varint);
  varint(static_cast<std::uint64_t>(value));
}

void FieldWriter::real(std::uint32_t field, float value) {
  tag(field, Wire::fixed32);
  out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void FieldWriter::bytes(std::uint32_t field, std::string_view value) {
  tag(field, Wire::bytes);
  varint(value.size());
  out_.append(value);
}

void FieldWriter::integers(std::uint32_t field, std::span<const std::int64_t> values) {
  FieldWriter packed;
  for (const std::int64_t value : values) packed.varint(static_cast<std::uint64_t>(value));
  bytes(field, packed.out_);
}

void FieldWriter::reals(std::uint32_t field, std::span<const float> values) {
  bytes(field, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

}  // namespace tessera::onnx
