#include "core/shape.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"

namespace tessera {

std::int64_t Dim::value() const {
  TESSERA_ASSERT(!symbolic_);
  return n_;
}

std::string Dim::text() const {
  if (!symbolic_) return std::to_string(n_);
  return n_ == 1 ? "batch" : std::to_string(n_) + "*batch";
}

std::int64_t checked_multiply(std::int64_t a, std::int64_t b) {
  std::int64_t n = 0;
  check(!__builtin_mul_overflow(a, b, &n), "a size overflows 64 bits: ", a, " times ", b);
  return n;
}

Dim Dim::bind(std::int64_t batch) const {
  return symbolic_ ? Dim(checked_multiply(n_, batch)) : *this;
}

Dim operator*(Dim a, Dim b) {
  check(!(a.is_symbolic() && b.is_symbolic()), "a shape can hold only one factor of batch");
  const std::int64_t n = checked_multiply(a.factor(), b.factor());
  return a.is_symbolic() || b.is_symbolic() ? Dim::symbolic(n) : Dim(n);
}

Shape Shape::of(std::span<const std::int64_t> dims) {
  return Shape(std::vector<Dim>(dims.begin(), dims.end()));
}

bool Shape::is_symbolic() const {
  return std::any_of(dims_.begin(), dims_.end(), [](Dim d) { return d.is_symbolic(); });
}

Dim Shape::numel_dim() const {
  Dim n = 1;
  for (Dim d : dims_) n = n * d;
  return n;
}

std::int64_t Shape::numel() const {
  return numel_dim().value();
}

std::vector<std::int64_t> Shape::values() const {
  std::vector<std::int64_t> out;
  out.reserve(dims_.size());
  for (Dim d : dims_) out.push_back(d.value());
  return out;
}

Shape Shape::bind(std::int64_t batch) const {
  Shape out = *this;
  for (Dim& d : out.dims_) d = d.bind(batch);
  return out;
}

int Shape::normalize(int axis) const {
  const int a = axis < 0 ? axis + rank() : axis;
  check(a >= 0 && a < rank(), "axis ", axis, " is out of range for shape ", text());
  return a;
}

std::string Shape::text() const {
  std::string out = "[";
  for (std::size_t i = 0; i < dims_.size(); ++i) out += (i ? "," : "") + dims_[i].text();
  return out + "]";
}

Shape parse_shape(std::string_view text) {
  const std::string_view whole = text;
  auto bad = [&]() { fail("expected a shape such as [batch,784], got '", whole, "'"); };
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') bad();
  text = text.substr(1, text.size() - 2);
  Shape shape;
  while (!text.empty()) {
    const auto comma = text.find(',');
    std::string_view item = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    if (comma != std::string_view::npos && text.empty()) bad();
    bool symbolic = false;
    std::int64_t n = 1;
    if (item == "batch") {
      symbolic = true;
    } else {
      if (item.ends_with("*batch")) {
        symbolic = true;
        item.remove_suffix(6);
      }
      const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), n);
      if (error != std::errc() || end != item.data() + item.size() || n < 0) bad();
    }
    shape.push_back(symbolic ? Dim::symbolic(n) : Dim(n));
    check(shape.rank() <= kMaxRank, "a shape has at most ", kMaxRank, " dimensions, got '", whole,
          "'");
  }
  return shape;
}

Shape broadcast(const Shape& a, const Shape& b, std::string_view op) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape out = longer;
  for (int i = 1; i <= shorter.rank(); ++i) {
    const Dim x = longer[-i], y = shorter[-i];
    if (x == y || y.is_one()) continue;
    check(x.is_one(), "[", op, "] shapes ", a, " and ", b, " do not broadcast");
    out[-i] = y;
  }
  return out;
}

bool broadcasts_to(const Shape& from, const Shape& to) {
  if (from.rank() > to.rank()) return false;
  for (int i = 1; i <= from.rank(); ++i) {
    if (!(from[-i] == to[-i] || from[-i].is_one())) return false;
  }
  return true;
}

std::vector<std::int64_t> strides_of(std::span<const std::int64_t> dims) {
  std::vector<std::int64_t> out(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) out[i - 1] = checked_multiply(out[i], dims[i]);
  return out;
}

void check_size(const Shape& shape) {
  check(shape.rank() <= kMaxRank, "expected at most ", kMaxRank, " dimensions, got ", shape.rank());
  std::int64_t elements = 1;
  for (const Dim dim : shape.dims()) {
    const std::int64_t n = std::max<std::int64_t>(dim.factor(), 1);
    check(dim.factor() >= 0 && n <= kMaxDim && n <= kMaxElements / elements, "the size of ", shape,
          " is over the limit");
    elements *= n;
  }
}

}  // namespace tessera
