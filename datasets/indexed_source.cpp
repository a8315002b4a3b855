#include "datasets/indexed_source.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "core/rng.h"

namespace tessera::datasets {

namespace {

std::vector<std::int32_t> identity(std::int64_t n) {
  check(n >= 0 && n <= std::numeric_limits<std::int32_t>::max(),
        "expected fewer than 2^31 samples, got ", n);
  std::vector<std::int32_t> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

}  // namespace

std::vector<std::int32_t> epoch_order(std::int64_t n, std::uint64_t seed, std::int64_t epoch) {
  std::vector<std::int32_t> order = identity(n);
  Rng rng(seed, stable_id(cat("datasets/shuffle/", epoch)));
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  return order;
}

IndexedSource::Order IndexedSource::order(std::int64_t epoch, std::int64_t first,
                                          std::int64_t n) const {
  check(epoch >= -1 && first >= 0 && n <= samples() - first, name(),
        ": expected an epoch >= -1 and samples within ", samples(), ", got epoch ", epoch,
        ", samples ", first, " to ", first + n);
  const std::lock_guard lock(mutex_);
  if (epoch < 0 || !shuffle_) {
    if (!stored_) stored_ = std::make_shared<const std::vector<std::int32_t>>(identity(samples()));
    return stored_;
  }
  if (epoch != shuffled_epoch_) {
    shuffled_ =
        std::make_shared<const std::vector<std::int32_t>>(epoch_order(samples(), seed_, epoch));
    shuffled_epoch_ = epoch;
  }
  return shuffled_;
}

std::vector<Field> IndexedSource::fields() const {
  std::vector<Field> out = own_fields();
  out.push_back({kIndexField, DType::s32, {}, samples()});
  return out;
}

void IndexedSource::fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const {
  const std::int64_t n = batch_size(batch, fields(), name());
  const Order all = order(epoch, first, n);
  const auto rows =
      std::span(*all).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n));
  const auto index = batch.find(kIndexField);
  if (index == batch.end()) return write(epoch, rows, batch);
  std::copy(rows.begin(), rows.end(), index->second.span<std::int32_t>().begin());
  TensorMap others = batch;
  others.erase(kIndexField);
  if (!others.empty()) write(epoch, rows, others);
}

void IndexedSource::gather(std::int64_t epoch, std::span<const std::int32_t> rows,
                           TensorMap& batch) const {
  const std::int64_t n = batch_size(batch, own_fields(), name());
  check(n == std::ssize(rows), name(), ": expected a batch of ", rows.size(), " samples, got ", n);
  const auto outside = std::find_if(rows.begin(), rows.end(),
                                    [&](std::int32_t row) { return row < 0 || row >= samples(); });
  check(epoch >= -1 && outside == rows.end(), name(), ": expected an epoch >= -1 and rows within ",
        samples(), " samples, got epoch ", epoch, ", row ", outside == rows.end() ? 0 : *outside);
  write(epoch, rows, batch);
}

// Labels of samples, where the batch has room for them.
void write_labels(const Tensor& labels, std::span<const std::int32_t> rows, TensorMap& batch) {
  const auto y = batch.find("y");
  if (y == batch.end()) return;
  const auto from = labels.span<std::int32_t>();
  std::transform(rows.begin(), rows.end(), y->second.span<std::int32_t>().begin(),
                 [&](std::int32_t row) { return from[static_cast<std::size_t>(row)]; });
}

}  // namespace tessera::datasets
