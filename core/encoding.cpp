#include "core/encoding.h"

#include <charconv>

#include "core/error.h"

namespace tessera {

void CodebookFormat::validate() const {
  check(bits >= 1 && bits <= 8, "codebook bits must be 1 to 8, got ", bits);
  check(entry_dtype == DType::f32 || entry_dtype == DType::bf16 || entry_dtype == DType::s8,
        "codebook entries must be f32, bf16 or s8, got ", name(entry_dtype));
  check(group_rows >= 0, "codebook group must be 0 or more rows, got ", group_rows);
  check(scale_block >= kScalePerRow, "codebook scale block must be positive, got ", scale_block);
  check(vector_len >= 1 && vector_len <= 16, "codebook vectors have 1 to 16 elements, got ",
        vector_len);
}

void CodebookFormat::validate(const Shape& shape) const {
  validate();
  check(shape.rank() >= 1 && !shape.is_symbolic(),
        "a codebook tensor needs a fixed shape of rank 1 or more, got ", shape);
  check(row_length(shape) % vector_len == 0, "codebook vectors of ", vector_len,
        " elements do not divide rows of ", row_length(shape));
}

std::int64_t CodebookFormat::rows(const Shape& shape) {
  return shape[0].value();
}

std::int64_t CodebookFormat::row_length(const Shape& shape) {
  Dim n = 1;
  for (int i = 1; i < shape.rank(); ++i) n = n * shape[i];
  return n.value();
}

std::int64_t CodebookFormat::index_count(const Shape& shape) const {
  return shape.numel() / vector_len;
}

std::int64_t CodebookFormat::index_bytes(const Shape& shape) const {
  return (index_count(shape) * bits + 7) / 8;
}

std::int64_t CodebookFormat::groups(const Shape& shape) const {
  return group_rows == 0 ? 1 : (rows(shape) + group_rows - 1) / group_rows;
}

std::int64_t CodebookFormat::block_length(const Shape& shape) const {
  return scale_block == kScalePerRow ? row_length(shape) : scale_block;
}

std::int64_t CodebookFormat::blocks_per_row(const Shape& shape) const {
  const std::int64_t block = block_length(shape);
  return block == 0 ? 0 : (row_length(shape) + block - 1) / block;
}

Shape CodebookFormat::indices_shape(const Shape& shape) const {
  return {index_bytes(shape)};
}

Shape CodebookFormat::entries_shape(const Shape& shape, std::int64_t k) const {
  if (vector_len == 1) return {groups(shape), k};
  return {groups(shape), k, vector_len};
}

Shape CodebookFormat::scale_shape(const Shape& shape) const {
  return {rows(shape), blocks_per_row(shape)};
}

CodebookLayout::CodebookLayout(const CodebookFormat& format, const Shape& shape,
                               std::int64_t entries)
    : format_(format),
      entries_(entries),
      row_length_(CodebookFormat::row_length(shape)),
      group_length_((format.group_rows ? format.group_rows : CodebookFormat::rows(shape)) *
                    row_length_),
      block_(format.block_length(shape)),
      blocks_(format.blocks_per_row(shape)) {}

std::int64_t CodebookLayout::index(const std::uint8_t* plane, std::int64_t i) const {
  const std::int64_t found = index_at(plane, format_.bits, index_of(i));
  check(found < entries_, "index ", found, " at position ", index_of(i),
        " is not below the number of entries, ", entries_);
  return found;
}

class Encoding::Impl {
 public:
  virtual ~Impl() = default;
  virtual const CodebookFormat* codebook_format() const = 0;
  virtual std::int64_t entries() const = 0;
  virtual std::string_view packed_layout() const { return {}; }
  virtual const Encoding* packed_of() const { return nullptr; }
  virtual std::vector<Plane> planes(DType dtype, const Shape& shape) const = 0;
  virtual std::string text() const = 0;
  // Whether the other says the same; `entries`: also of their number.
  virtual bool same(const Impl& other, bool entries) const = 0;
};

namespace {

class CodebookEncoding final : public Encoding::Impl {
 public:
  CodebookEncoding(const CodebookFormat& format, std::int64_t entries)
      : format_(format), entries_(entries) {}
  const CodebookFormat* codebook_format() const override { return &format_; }
  std::int64_t entries() const override { return entries_; }
  bool same(const Encoding::Impl& other, bool entries) const override {
    const auto* codebook = dynamic_cast<const CodebookEncoding*>(&other);
    return codebook != nullptr && codebook->format_ == format_ &&
           (!entries || codebook->entries_ == entries_);
  }

  std::vector<Plane> planes(DType, const Shape& shape) const override {
    std::vector<Plane> out = {
        {"indices", DType::u8, format_.indices_shape(shape)},
        {"entries", format_.entry_dtype, format_.entries_shape(shape, entries_)}};
    if (format_.scale_block != 0) out.push_back({"scale", DType::f32, format_.scale_shape(shape)});
    return out;
  }

  std::string text() const override {
    std::string out = cat("cb", format_.bits);
    if (format_.entry_dtype != DType::f32) out += cat(":", name(format_.entry_dtype));
    std::string rest;
    if (format_.group_rows) rest += cat("g", format_.group_rows);
    if (format_.scale_block == CodebookFormat::kScalePerRow) rest += "srow";
    if (format_.scale_block > 0) rest += cat("s", format_.scale_block);
    if (format_.vector_len != 1) rest += cat("v", format_.vector_len);
    return rest.empty() ? out : out + "/" + rest;
  }

 private:
  CodebookFormat format_;
  std::int64_t entries_;
};

class PackedEncoding final : public Encoding::Impl {
 public:
  PackedEncoding(std::string layout, std::int64_t plane_bytes, Encoding of)
      : layout_(std::move(layout)), plane_bytes_(plane_bytes), of_(std::move(of)) {}
  const CodebookFormat* codebook_format() const override { return of_.codebook_format(); }
  std::int64_t entries() const override { return of_.entries(); }
  std::string_view packed_layout() const override { return layout_; }
  const Encoding* packed_of() const override { return &of_; }
  bool same(const Encoding::Impl& other, bool entries) const override {
    const auto* packed = dynamic_cast<const PackedEncoding*>(&other);
    return packed != nullptr && packed->layout_ == layout_ &&
           packed->plane_bytes_ == plane_bytes_ &&
           (entries ? packed->of_ == of_ : packed->of_.agrees(of_));
  }

  std::vector<Plane> planes(DType, const Shape&) const override {
    return {{"packed", DType::u8, Shape{plane_bytes_}}};
  }

  std::string text() const override {
    return cat(layout_, ":", plane_bytes_, "<", of_.text(), ">");
  }

 private:
  std::string layout_;
  std::int64_t plane_bytes_;
  Encoding of_;
};

std::int64_t take_number(std::string_view& text, std::string_view whole) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  check(error == std::errc() && n >= 0, "expected a number in encoding '", whole, "'");
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return n;
}

}  // namespace

Encoding Encoding::codebook(const CodebookFormat& format, std::int64_t entries) {
  format.validate();
  check(entries >= 0 && entries <= format.max_entries(), format.bits,
        "-bit indices address at most ", format.max_entries(), " entries, got ", entries);
  return Encoding(std::make_shared<CodebookEncoding>(format, entries));
}

Encoding Encoding::packed(std::string layout, std::int64_t plane_bytes, const Encoding& of) {
  return Encoding(std::make_shared<PackedEncoding>(std::move(layout), plane_bytes, of));
}

const CodebookFormat* Encoding::codebook_format() const {
  return impl_ ? impl_->codebook_format() : nullptr;
}

std::string_view Encoding::packed_layout() const {
  return impl_ ? impl_->packed_layout() : std::string_view();
}

std::int64_t Encoding::entries() const {
  return impl_ ? impl_->entries() : 0;
}

Encoding Encoding::stored() const {
  const Encoding* of = impl_ ? impl_->packed_of() : nullptr;
  return of ? *of : *this;
}

std::vector<Plane> Encoding::planes(DType dtype, const Shape& shape) const {
  if (!impl_) return {{"", dtype, shape}};
  return impl_->planes(dtype, shape);
}

std::string Encoding::text() const {
  return impl_ ? impl_->text() : "";
}

bool operator==(const Encoding& a, const Encoding& b) {
  return a.impl_ == b.impl_ || (a.impl_ && b.impl_ && a.impl_->same(*b.impl_, true));
}

bool Encoding::agrees(const Encoding& other) const {
  return impl_ == other.impl_ || (impl_ && other.impl_ && impl_->same(*other.impl_, false));
}

Encoding parse_encoding(std::string_view text) {
  if (text.empty()) return {};
  const std::string_view whole = text;
  if (const auto open = text.find('<'); open != std::string_view::npos) {
    check(text.back() == '>', "expected '>' at the end of encoding '", whole, "'");
    const auto colon = text.find(':');
    check(colon != std::string_view::npos && colon < open, "expected layout:bytes<...> in '", whole,
          "'");
    std::string_view bytes = text.substr(colon + 1, open - colon - 1);
    const std::int64_t n = take_number(bytes, whole);
    check(text.find('<', open + 1) == std::string_view::npos,
          "a packed value cannot be packed again: '", whole, "'");
    return Encoding::packed(std::string(text.substr(0, colon)), n,
                            parse_encoding(text.substr(open + 1, text.size() - open - 2)));
  }
  check(text.starts_with("cb"), "unknown encoding '", whole, "'");
  text.remove_prefix(2);
  CodebookFormat format;
  const std::int64_t bits = take_number(text, whole);
  check(bits >= 1 && bits <= 8, "codebook bits must be 1 to 8, got '", whole, "'");
  format.bits = static_cast<int>(bits);
  if (text.starts_with(":")) {
    const auto slash = text.find('/');
    const auto word = text.substr(1, slash == std::string_view::npos ? slash : slash - 1);
    const auto dtype = parse_dtype(word);
    check(dtype.has_value(), "unknown entry dtype in encoding '", whole, "'");
    format.entry_dtype = *dtype;
    text = slash == std::string_view::npos ? std::string_view() : text.substr(slash);
  }
  if (text.starts_with("/")) {
    text.remove_prefix(1);
    while (!text.empty()) {
      const char field = text.front();
      text.remove_prefix(1);
      if (field == 's' && text.starts_with("row")) {
        text.remove_prefix(3);
        format.scale_block = CodebookFormat::kScalePerRow;
        continue;
      }
      const std::int64_t n = take_number(text, whole);
      check(n > 0 && n <= (std::int64_t{1} << 40), "number out of range in encoding '", whole, "'");
      if (field == 'g') {
        format.group_rows = n;
      } else if (field == 's') {
        format.scale_block = n;
      } else if (field == 'v' && n <= 16) {
        format.vector_len = static_cast<int>(n);
      } else {
        fail("unknown field '", field, "' in encoding '", whole, "'");
      }
    }
  }
  check(text.empty(), "unexpected '", text, "' in encoding '", whole, "'");
  return Encoding::codebook(format);
}

std::string TensorType::text() const {
  const std::string suffix = encoding.text();
  return std::string(name(dtype)) + shape.text() + (suffix.empty() ? "" : "@" + suffix);
}

TensorType parse_type(std::string_view text) {
  const auto open = text.find('['), close = text.find(']');
  check(open != std::string_view::npos && close != std::string_view::npos && open < close,
        "expected a type such as f32[batch,784], got '", text, "'");
  const auto dtype = parse_dtype(text.substr(0, open));
  check(dtype.has_value(), "unknown dtype in type '", text, "'");
  TensorType type{*dtype, parse_shape(text.substr(open, close - open + 1)), {}};
  std::string_view rest = text.substr(close + 1);
  if (!rest.empty()) {
    check(rest.front() == '@' && rest.size() > 1, "unexpected '", rest, "' in type '", text, "'");
    type.encoding = parse_encoding(rest.substr(1));
    if (const auto* format = type.encoding.codebook_format()) format->validate(type.shape);
  }
  return type;
}

}  // namespace tessera
