#include "core/tensor.h"

#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <ostream>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tessera {

namespace {

constexpr std::int64_t kHugePage = 2 << 20;

std::atomic<std::int64_t> live_bytes{0}, peak_bytes{0}, allocations{0};

// Calls fn with a null pointer of the C++ type that holds the dtype.
template <class Fn>
void dispatch(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::f32:
      return fn(static_cast<float*>(nullptr));
    case DType::bf16:
      return fn(static_cast<std::uint16_t*>(nullptr));
    case DType::s8:
      return fn(static_cast<std::int8_t*>(nullptr));
    case DType::u8:
      return fn(static_cast<std::uint8_t*>(nullptr));
    case DType::s32:
      return fn(static_cast<std::int32_t*>(nullptr));
    case DType::s64:
      return fn(static_cast<std::int64_t*>(nullptr));
  }
}

void print(std::string& out, const Tensor& t, int axis, std::int64_t begin, std::int64_t count) {
  if (axis == t.shape().rank()) {
    std::ostringstream item;
    item << element(t, begin);
    out += item.str();
    return;
  }
  const std::int64_t n = t.shape()[axis].value(), inner = n == 0 ? 0 : count / n;
  constexpr std::int64_t kEdge = 3;
  out += "[";
  for (std::int64_t i = 0; i < n; ++i) {
    if (n > 2 * kEdge && i == kEdge) {
      out += ", ...";
      i = n - kEdge;
    }
    if (i > 0) out += axis + 1 < t.shape().rank() ? ",\n" + std::string(axis + 1, ' ') : ", ";
    print(out, t, axis + 1, begin + i * inner, inner);
  }
  out += "]";
}

}  // namespace

AllocationCount allocation_count() {
  return {live_bytes, peak_bytes, allocations};
}
void reset_allocation_peak() {
  peak_bytes = live_bytes.load();
}

std::shared_ptr<std::byte[]> allocate(std::int64_t bytes) {
  const std::int64_t rounded = (std::max<std::int64_t>(bytes, 1) + kAlignment - 1) & -kAlignment;
  // Images walked in step are far apart: with small pages every line of them misses the TLB.
  const bool huge = rounded >= 2 * kHugePage;
  const std::int64_t alignment = huge ? kHugePage : kAlignment;
  const auto size = static_cast<std::size_t>((rounded + alignment - 1) & -alignment);
  auto* p = static_cast<std::byte*>(std::aligned_alloc(static_cast<std::size_t>(alignment), size));
  if (p == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  if (huge) madvise(p, size, MADV_HUGEPAGE);  // a wish; nothing depends on it
#endif
  std::memset(p, 0, static_cast<std::size_t>(rounded));
  const std::int64_t live = live_bytes += rounded;
  for (auto peak = peak_bytes.load();
       live > peak && !peak_bytes.compare_exchange_weak(peak, live);) {
  }
  ++allocations;
  return {p, [rounded](std::byte* q) {
            live_bytes -= rounded;
            std::free(q);
          }};
}

Tensor::Tensor(DType dtype, Shape shape)
    : numel_(shape.numel()), dtype_(dtype), shape_(std::move(shape)) {
  storage_ = allocate(bytes());
}

Tensor Tensor::full(const Shape& shape, float value) {
  Tensor out(DType::f32, shape);
  for (float& v : out.span<float>()) v = value;
  return out;
}

float Tensor::item() const {
  check(numel_ == 1, "item() needs one element, got ", text_type());
  return span<float>()[0];
}

Tensor Tensor::clone() const {
  Tensor out(dtype_, shape_);
  std::memcpy(out.data(), data(), static_cast<std::size_t>(bytes()));
  return out;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  check(shape_.rank() >= 1 && begin >= 0 && begin <= end && end <= shape_[0].value(), "slice [",
        begin, ", ", end, ") is outside ", text_type());
  Tensor out = *this;
  out.shape_[0] = end - begin;
  out.numel_ = out.shape_.numel();
  const std::int64_t rows = shape_[0].value();
  out.offset_ += begin * (rows ? bytes() / rows : 0);
  return out;
}

Tensor Tensor::reshape(const Shape& shape) const {
  check(shape.numel() == numel_, "cannot reshape ", text_type(), " to ", shape);
  Tensor out = *this;
  out.shape_ = shape;
  return out;
}

Tensor Tensor::to(DType dtype) const {
  Tensor out(dtype, shape_);
  for (std::int64_t i = 0; i < numel_; ++i) set_element(out, i, element(*this, i));
  return out;
}

std::string Tensor::text() const {
  std::string out = text_type() + " ";
  print(out, *this, 0, 0, numel_);
  return out;
}

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  return out << tensor.text();
}

double element(const Tensor& tensor, std::int64_t i) {
  double value = 0;
  dispatch(tensor.dtype(), [&]<class T>(T*) {
    const T raw = reinterpret_cast<const T*>(tensor.data())[i];
    value = tensor.dtype() == DType::bf16 ? f32_from_bf16(static_cast<std::uint16_t>(raw))
                                          : static_cast<double>(raw);
  });
  return value;
}

void set_element(Tensor& tensor, std::int64_t i, double value) {
  dispatch(tensor.dtype(), [&]<class T>(T*) {
    reinterpret_cast<T*>(tensor.data())[i] =
        tensor.dtype() == DType::bf16 ? static_cast<T>(bf16_from_f32(static_cast<float>(value)))
                                      : static_cast<T>(value);
  });
}

bool equal_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.bytes())) == 0;
}

}  // namespace tessera
