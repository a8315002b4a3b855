#include "datasets/in_memory.h"

#include <algorithm>
#include <utility>

#include "core/parallel.h"

namespace tessera::datasets {

namespace {

constexpr std::int64_t kGrain = 32 * 1024;  // values worth another thread

template <class T>
void copy_rows(const Tensor& from, std::span<const std::int32_t> rows, std::int64_t width,
               std::span<float> out) {
  const T* values = from.span<T>().data();
  parallel_for(std::ssize(rows),
               std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, width)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const T* row = values + rows[static_cast<std::size_t>(i)] * width;
                   std::transform(row, row + width, out.data() + i * width,
                                  [](T v) { return static_cast<float>(v); });
                 }
               });
}

}  // namespace

InMemory::InMemory(Tensor x, Tensor y, InMemoryOptions options)
    : IndexedSource(options.shuffle, options.seed),
      x_(std::move(x)),
      y_(std::move(y)),
      options_(std::move(options)) {
  const std::string& name = options_.name;
  check(x_.defined() && y_.defined(), "[", name, "] expected two tensors");
  check(y_.dtype() == DType::s32 && y_.shape().rank() == 1 && y_.numel() > 0, "[", name,
        "] expected at least one label, s32[n], got ", y_.text_type());
  check(x_.shape().rank() >= 2 && x_.shape()[0] == y_.shape()[0], "[", name, "] expected x [",
        y_.numel(), ", ...] for as many labels, got ", x_.text_type());
  check(x_.dtype() != DType::s64, "[", name, "] expected x of f32, bf16, s8, u8 or s32, got ",
        x_.text_type());
  if (x_.dtype() == DType::bf16) x_ = x_.to(DType::f32);
  const auto labels = y_.span<std::int32_t>();
  if (options_.classes == 0)
    options_.classes = std::int64_t{*std::max_element(labels.begin(), labels.end())} + 1;
  const auto bad = std::find_if(labels.begin(), labels.end(), [&](std::int32_t label) {
    return label < 0 || label >= options_.classes;
  });
  check(bad == labels.end(), "[", name, "] expected labels in [0, ", options_.classes, "), got ",
        bad == labels.end() ? 0 : *bad, " at position ", bad - labels.begin());
  const auto& dims = x_.shape().dims();
  sample_ = Shape(std::vector<Dim>(dims.begin() + 1, dims.end()));
}

void InMemory::write(std::int64_t, std::span<const std::int32_t> rows, TensorMap& batch) const {
  write_labels(y_, rows, batch);
  const auto at = batch.find("x");
  if (at == batch.end()) return;
  const std::span<float> x = at->second.span<float>();
  const std::int64_t width = sample_.numel();
  switch (x_.dtype()) {
    case DType::f32:
      return copy_rows<float>(x_, rows, width, x);
    case DType::s8:
      return copy_rows<std::int8_t>(x_, rows, width, x);
    case DType::u8:
      return copy_rows<std::uint8_t>(x_, rows, width, x);
    default:
      return copy_rows<std::int32_t>(x_, rows, width, x);
  }
}

}  // namespace tessera::datasets
