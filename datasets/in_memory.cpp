#include "datasets/in_memory.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/parallel.h"
#include "datasets/batches.h"

namespace tessera::datasets {

namespace {

constexpr std::int64_t kGrain = 32 * 1024;  // values worth another thread

template <class T>
void gather(const Tensor& from, const std::int32_t* rows, std::int64_t count, std::int64_t width,
            float* out) {
  const T* values = from.span<T>().data();
  parallel_for(count, std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, width)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const T* row = values + rows[i] * width;
                   std::transform(row, row + width, out + i * width,
                                  [](T v) { return static_cast<float>(v); });
                 }
               });
}

}  // namespace

InMemory::InMemory(Tensor x, Tensor y, InMemoryOptions options)
    : x_(std::move(x)), y_(std::move(y)), options_(std::move(options)) {
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
  std::vector<std::int32_t> all(labels.size());
  std::iota(all.begin(), all.end(), 0);
  stored_ = std::make_shared<const std::vector<std::int32_t>>(std::move(all));
}

InMemory::Order InMemory::order(std::int64_t epoch, std::int64_t first, std::int64_t count) const {
  check(epoch >= -1 && first >= 0 && count <= samples() - first, "[", options_.name,
        "] expected an epoch >= -1 and samples within ", samples(), ", got epoch ", epoch,
        ", samples ", first, " to ", first + count);
  if (epoch < 0 || !options_.shuffle) return stored_;
  const std::lock_guard lock(mutex_);
  if (epoch != order_epoch_) {
    order_ = std::make_shared<const std::vector<std::int32_t>>(
        epoch_order(samples(), options_.seed, epoch));
    order_epoch_ = epoch;
  }
  return order_;
}

void InMemory::fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const {
  const std::int64_t n = y.numel(), width = sample_.numel();
  check(x.dtype() == DType::f32 && x.numel() == n * width, "[", options_.name,
        "] expected x f32 of ", n, " samples of ", width, " values for as many labels, got ",
        x.text_type());
  const Order all = order(epoch, first, n);
  const std::int32_t* rows = all->data() + first;
  float* out = x.span<float>().data();
  switch (x_.dtype()) {
    case DType::f32:
      gather<float>(x_, rows, n, width, out);
      break;
    case DType::s8:
      gather<std::int8_t>(x_, rows, n, width, out);
      break;
    case DType::u8:
      gather<std::uint8_t>(x_, rows, n, width, out);
      break;
    default:
      gather<std::int32_t>(x_, rows, n, width, out);
  }
  const auto labels = y_.span<std::int32_t>();
  std::transform(rows, rows + n, y.span<std::int32_t>().begin(),
                 [&](std::int32_t row) { return labels[static_cast<std::size_t>(row)]; });
}

void InMemory::positions(std::int64_t epoch, std::int64_t first, Tensor& index) const {
  const Order all = order(epoch, first, index.numel());
  std::copy_n(all->data() + first, index.numel(), index.span<std::int32_t>().begin());
}

}  // namespace tessera::datasets
