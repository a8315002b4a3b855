#include "datasets/batches.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "core/rng.h"

namespace tessera::datasets {
namespace {

// [n, h, w] -> [h, w]
Shape image_shape(const Dataset& data) {
  const auto& dims = data.images.shape().dims();
  return dims.empty() ? Shape{} : Shape(std::vector<Dim>(dims.begin() + 1, dims.end()));
}

std::vector<std::int32_t> identity(std::int64_t n) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

}  // namespace

std::vector<std::int32_t> epoch_order(std::int64_t n, std::uint64_t seed, std::int64_t epoch) {
  check(n >= 0 && n <= std::numeric_limits<std::int32_t>::max(),
        "[batches] expected fewer than 2^31 samples, got ", n);
  std::vector<std::int32_t> order = identity(n);
  Rng rng(seed, stable_id(cat("datasets/shuffle/", epoch)));
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  return order;
}

Batches::Batches(Dataset data, Preprocess preprocess, BatchOptions options)
    : data_(std::move(data)),
      preprocess_(std::move(preprocess)),
      options_(options),
      augmenter_(options.augment, image_shape(data_), options.seed) {
  const std::int64_t n = data_.size(), batch = options_.batch;
  check(n > 0 && data_.images.shape().rank() > 0 && data_.images.shape()[0] == Dim(n), "[batches] ",
        data_.name, ": expected as many images as labels and at least one, got ",
        data_.images.text_type(), " and ", data_.labels.text_type());
  check(data_.images.dtype() == DType::u8 && data_.labels.dtype() == DType::s32, "[batches] ",
        data_.name, ": expected images of u8 and labels of s32, got ", data_.images.text_type(),
        " and ", data_.labels.text_type());
  check(data_.pixels() == preprocess_.pixels(), "[batches] ", data_.name, ": images have ",
        data_.pixels(), " values, the preprocessing has ", preprocess_.pixels());
  check(batch >= 1, "[batches] expected a batch of at least 1, got ", batch);
  check(!options_.drop_last || batch <= n, "[batches] ", data_.name, ": a batch of ", batch,
        " with drop_last leaves nothing of ", n, " samples");
  if (options_.sample.rank() == 0) {
    const Shape image = image_shape(data_);
    options_.sample = image.rank() == 3 ? image : Shape{data_.pixels()};
  }
  check(!options_.sample.is_symbolic() && options_.sample.numel() == data_.pixels(), "[batches] ",
        data_.name, ": expected a sample shape of ", data_.pixels(), " values, got ",
        options_.sample.text());
  steps_ = options_.drop_last ? n / batch : (n + batch - 1) / batch;
  const std::int64_t rows = std::min(batch, n), rest = options_.drop_last ? 0 : n % rows;
  Shape images{rows};
  for (const Dim dim : options_.sample.dims()) images.push_back(dim);
  full_ = {Tensor(DType::f32, images), Tensor(DType::s32, {rows}), Tensor(DType::s32, {rows})};
  last_ = rest == 0 ? full_
                    : Batch{full_.images.slice(0, rest), full_.labels.slice(0, rest),
                            full_.indices.slice(0, rest)};
  stored_order_ = std::make_shared<const std::vector<std::int32_t>>(identity(n));
}

Batches::Order Batches::order(std::int64_t epoch) const {
  if (epoch < 0 || !options_.shuffle) return stored_order_;
  const std::lock_guard lock(mutex_);
  if (epoch != order_epoch_) {
    order_ = std::make_shared<const std::vector<std::int32_t>>(
        epoch_order(data_.size(), options_.seed, epoch));
    order_epoch_ = epoch;
  }
  return order_;
}

void Batches::fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const {
  const std::int64_t n = y.numel();
  check(epoch >= -1 && first >= 0 && n <= data_.size() - first, "[batches] ", data_.name,
        ": expected an epoch >= -1 and samples within ", data_.size(), ", got epoch ", epoch,
        ", samples ", first, " to ", first + n);
  const Order all = order(epoch);
  gather(epoch,
         std::span<const std::int32_t>(*all).subspan(static_cast<std::size_t>(first),
                                                     static_cast<std::size_t>(n)),
         x, y);
}

void Batches::gather(std::int64_t epoch, std::span<const std::int32_t> rows, Tensor& x,
                     Tensor& y) const {
  const auto values = x.span<float>();
  const auto labels = y.span<std::int32_t>();
  const auto n = static_cast<std::int64_t>(rows.size());
  check(y.numel() == n && x.numel() == n * data_.pixels(), "[batches] ", data_.name, ": expected ",
        n, " images of ", data_.pixels(), " values and as many labels, got ", x.text_type(),
        " and ", y.text_type());
  check(
      epoch >= -1 && std::all_of(rows.begin(), rows.end(),
                                 [&](std::int32_t row) { return row >= 0 && row < data_.size(); }),
      "[batches] ", data_.name, ": expected an epoch >= -1 and rows within ", data_.size(),
      ", got epoch ", epoch);
  preprocess_.gather(data_.images, rows, values);
  if (epoch >= 0 && options_.augment.any()) augmenter_(epoch, rows, values);
  const auto stored = data_.labels.span<std::int32_t>();
  std::transform(rows.begin(), rows.end(), labels.begin(),
                 [&](std::int32_t row) { return stored[static_cast<std::size_t>(row)]; });
}

void Batches::positions(std::int64_t epoch, std::int64_t first, Tensor& index) const {
  const auto out = index.span<std::int32_t>();
  check(epoch >= -1 && first >= 0 && index.numel() <= data_.size() - first, "[batches] ",
        data_.name, ": expected an epoch >= -1 and samples within ", data_.size(), ", got epoch ",
        epoch, ", samples ", first, " to ", first + index.numel());
  std::copy_n(order(epoch)->begin() + first, out.size(), out.begin());
}

void Batches::seek(std::int64_t epoch, std::int64_t step) {
  check(epoch >= 0 && step >= 0 && step <= steps_,
        "[batches] expected an epoch >= 0 and a step of 0 to ", steps_, ", got epoch ", epoch,
        ", step ", step);
  epoch_ = step == steps_ ? epoch + 1 : epoch;
  step_ = step == steps_ ? 0 : step;
}

const Batch& Batches::next() {
  const std::int64_t first = step_ * options_.batch;
  Batch& out = data_.size() - first >= full_.size() ? full_ : last_;
  fill(epoch_, first, out.images, out.labels);
  const Order all = order(epoch_);
  std::copy_n(all->begin() + first, out.size(), out.indices.span<std::int32_t>().begin());
  seek(epoch_, step_ + 1);
  return out;
}

}  // namespace tessera::datasets
