// Shapes: dimensions that may be a multiple of the one symbol, `batch`.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

// What a value may measure. Within these limits every product of dimensions, of a dimension and an
// integer attribute, and of elements and bits stays far below 64 bits.
inline constexpr int kMaxRank = 16;
inline constexpr std::int64_t kMaxDim = std::int64_t{1} << 31;  // and integer attributes
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 39;

// a * b; Error when it overflows.
std::int64_t checked_multiply(std::int64_t a, std::int64_t b);

// A dimension: `n`, or `n * batch` when symbolic. The symbol is bound by specialize(graph, batch).
class Dim {
 public:
  constexpr Dim() = default;
  constexpr Dim(std::int64_t n) : n_(n) {}  // NOLINT: a number is a dimension
  static constexpr Dim symbolic(std::int64_t factor) {
    Dim dim(factor);
    dim.symbolic_ = true;
    return dim;
  }
  constexpr bool is_symbolic() const { return symbolic_; }
  // The value of a bound dimension; asserts on a symbolic one.
  std::int64_t value() const;
  constexpr std::int64_t factor() const { return n_; }
  Dim bind(std::int64_t batch) const;  // Error when the product overflows
  constexpr bool is_one() const { return !symbolic_ && n_ == 1; }
  friend constexpr bool operator==(const Dim&, const Dim&) = default;
  std::string text() const;

 private:
  std::int64_t n_ = 0;
  bool symbolic_ = false;
};

inline constexpr Dim kBatch = Dim::symbolic(1);

// Product; at most one factor may be symbolic (fails otherwise, as it does on overflow).
Dim operator*(Dim a, Dim b);

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Dim> dims) : dims_(dims) {}
  explicit Shape(std::vector<Dim> dims) : dims_(std::move(dims)) {}
  static Shape of(std::span<const std::int64_t> dims);

  int rank() const { return static_cast<int>(dims_.size()); }
  // Negative axes count from the end.
  Dim operator[](int axis) const { return dims_[static_cast<std::size_t>(normalize(axis))]; }
  Dim& operator[](int axis) { return dims_[static_cast<std::size_t>(normalize(axis))]; }
  const std::vector<Dim>& dims() const { return dims_; }
  void push_back(Dim dim) { dims_.push_back(dim); }

  bool is_symbolic() const;
  // Number of elements of a bound shape; 1 for a scalar.
  std::int64_t numel() const;
  Dim numel_dim() const;
  std::vector<std::int64_t> values() const;
  Shape bind(std::int64_t batch) const;
  // Index of an axis in [0, rank); throws Error when it is out of range.
  int normalize(int axis) const;

  std::string text() const;  // "[batch,784]"
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::vector<Dim> dims_;
};

// Parses "[batch,784]", "[]", "[2*batch,3]"; throws Error.
Shape parse_shape(std::string_view text);

// numpy's rule: align at the last axis, each pair equal or one of them 1. Throws Error naming `op`.
Shape broadcast(const Shape& a, const Shape& b, std::string_view op);
bool broadcasts_to(const Shape& from, const Shape& to);

// Throws Error when a value cannot have this shape. Empty dimensions count as 1, so that strides
// are in the limits, too; a factor of the batch counts as it is.
void check_size(const Shape& shape);

// Row-major strides in elements; Error when they overflow.
std::vector<std::int64_t> strides_of(std::span<const std::int64_t> dims);

}  // namespace tessera
