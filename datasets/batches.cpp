#include "datasets/batches.h"

#include <algorithm>
#include <span>
#include <utility>

namespace tessera::datasets {
namespace {

// [n, h, w] -> [h, w]
Shape image_shape(const Dataset& data) {
  const auto& dims = data.images.shape().dims();
  return dims.empty() ? Shape{} : Shape(std::vector<Dim>(dims.begin() + 1, dims.end()));
}

}  // namespace

Batches::Batches(Dataset data, Preprocess preprocess, BatchOptions options)
    : IndexedSource(options.shuffle, options.seed),
      data_(std::move(data)),
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
}

void Batches::write(std::int64_t epoch, std::span<const std::int32_t> rows,
                    TensorMap& batch) const {
  write_labels(data_.labels, rows, batch);
  const auto x = batch.find("x");
  if (x == batch.end()) return;
  preprocess_.gather(data_.images, rows, x->second.span<float>());
  if (epoch >= 0 && options_.augment.any()) augmenter_(epoch, rows, x->second.span<float>());
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
  TensorMap batch = {{"x", out.images}, {"y", out.labels}, {kIndexField, out.indices}};
  fill(epoch_, first, batch);
  seek(epoch_, step_ + 1);
  return out;
}

}  // namespace tessera::datasets
