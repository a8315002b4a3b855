// The wire format of protocol buffers, as much of it as ONNX needs: fields of a message one after
// another, read in place, and written. https://protobuf.dev/programming-guides/encoding
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::onnx {

enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

// The fields of one message. Throws Error "byte N: ..." for what is no message.
class FieldReader {
 public:
  // `begin` is where the bytes stand in the file, for messages.
  explicit FieldReader(std::string_view bytes, std::int64_t begin = 0)
      : bytes_(bytes), begin_(begin) {}
  bool next();  // whether there is another field, which is then the current one

  std::uint32_t number() const { return number_; }
  Wire wire() const { return wire_; }
  std::int64_t offset() const { return begin_ + static_cast<std::int64_t>(field_); }

  // The current field's value. Throws Error when it is of another wire type.
  std::int64_t integer() const;
  float real() const;
  std::string_view bytes() const;
  FieldReader message() const;
  // A repeated number, packed or not: appends what the field holds.
  void integers(std::vector<std::int64_t>& out) const;
  void reals(std::vector<float>& out) const;
  void doubles(std::vector<double>& out) const;

 private:
  template <class... Args>
  [[noreturn]] void bad(const Args&... args) const;
  std::uint64_t varint();
  void expect(Wire wire) const;

  std::string_view bytes_;
  std::int64_t begin_;
  std::size_t at_ = 0, field_ = 0;
  std::uint32_t number_ = 0;
  Wire wire_ = Wire::varint;
  std::uint64_t number_value_ = 0;
  std::size_t content_ = 0;  // where bytes() begin
  std::string_view value_;
};

// Writes a message field by field; absent values (0, "") are written when asked to.
class FieldWriter {
 public:
  void integer(std::uint32_t field, std::int64_t value);
  void real(std::uint32_t field, float value);
  void bytes(std::uint32_t field, std::string_view value);
  void message(std::uint32_t field, const FieldWriter& value) { bytes(field, value.text()); }
  void integers(std::uint32_t field, std::span<const std::int64_t> values);  // packed
  void reals(std::uint32_t field, std::span<const float> values);            // packed
  const std::string& text() const { return out_; }

 private:
  void varint(std::uint64_t value);
  void tag(std::uint32_t field, Wire wire);

  std::string out_;
};

}  // namespace tessera::onnx
