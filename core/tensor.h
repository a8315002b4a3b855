// Tensors a user can create, slice, print, and copy in and out. Dense and row-major: a codebook
// weight is two or three of these (indices, entries, scale); see ops/codebook.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/shape.h"

namespace tessera {

inline constexpr std::int64_t kAlignment = 64;  // bytes; a cache line and one AVX-512 register

// Bytes of tensor memory alive in this process now, and the most there ever were. Every Tensor and
// every plan's arena goes through allocate(), so tests can show what a plan did not allocate.
struct AllocationCount {
  std::int64_t live_bytes = 0;
  std::int64_t peak_bytes = 0;
  std::int64_t allocations = 0;
};
AllocationCount allocation_count();
void reset_allocation_peak();

// 64-byte aligned, zero-filled, counted.
std::shared_ptr<std::byte[]> allocate(std::int64_t bytes);

// A handle on shared storage: copying a Tensor shares its elements, clone() copies them.
class Tensor {
 public:
  Tensor() = default;
  // Zero-filled.
  Tensor(DType dtype, Shape shape);
  static Tensor zeros(DType dtype, const Shape& shape) { return Tensor(dtype, shape); }
  static Tensor full(const Shape& shape, float value);
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape) {
    Tensor out(DTypeOf<T>::value, shape);
    out.copy_from(values);
    return out;
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    return from(std::span<const T>(values), shape);
  }
  static Tensor scalar(float value) { return full({}, value); }

  bool defined() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t numel() const { return numel_; }
  std::int64_t bytes() const { return numel_ * size_of(dtype_); }

  std::byte* data() { return storage_.get() + offset_; }
  const std::byte* data() const { return storage_.get() + offset_; }
  // Typed elements; throws Error when T is not the tensor's dtype.
  template <class T>
  std::span<T> span() {
    require(DTypeOf<T>::value);
    return {reinterpret_cast<T*>(data()), static_cast<std::size_t>(numel_)};
  }
  template <class T>
  std::span<const T> span() const {
    require(DTypeOf<T>::value);
    return {reinterpret_cast<const T*>(data()), static_cast<std::size_t>(numel_)};
  }
  template <class T>
  void copy_from(std::span<const T> values) {
    check(static_cast<std::int64_t>(values.size()) == numel_, "expected ", numel_, " values for ",
          text_type(), ", got ", values.size());
    auto out = span<T>();
    std::copy(values.begin(), values.end(), out.begin());
  }
  template <class T>
  std::vector<T> to_vector() const {
    auto values = span<T>();
    return {values.begin(), values.end()};
  }
  // The only element of a one-element f32 tensor.
  float item() const;

  Tensor clone() const;
  // Rows [begin, end) of axis 0, sharing storage.
  Tensor slice(std::int64_t begin, std::int64_t end) const;
  // Same elements under another shape, sharing storage.
  Tensor reshape(const Shape& shape) const;
  // Elementwise conversion (bf16 rounds to nearest even, integers truncate).
  Tensor to(DType dtype) const;

  std::string text_type() const { return std::string(name(dtype_)) + shape_.text(); }
  // numpy-like text; long axes are shortened.
  std::string text() const;

 private:
  void require(DType dtype) const {
    check(defined() && dtype == dtype_, "expected a tensor of ", name(dtype), ", got ",
          defined() ? text_type() : "an undefined tensor");
  }

  std::shared_ptr<std::byte[]> storage_;
  std::int64_t offset_ = 0;  // bytes
  std::int64_t numel_ = 0;
  DType dtype_ = DType::f32;
  Shape shape_;
};

std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

// Element i of a tensor of any dtype as f64.
double element(const Tensor& tensor, std::int64_t i);
void set_element(Tensor& tensor, std::int64_t i, double value);

// Same dtype, shape and bytes.
bool equal_bits(const Tensor& a, const Tensor& b);

}  // namespace tessera
