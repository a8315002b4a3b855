#include "datasets/subset.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "core/rng.h"
#include "datasets/batches.h"

namespace tessera::datasets {

HoldOut hold_out(std::int64_t samples, std::int64_t held) {
  check(held >= 1 && held < samples && samples <= std::numeric_limits<std::int32_t>::max(),
        "[subset] expected to hold 1 to ", samples - 1, " of ", samples, " samples out, got ",
        held);
  // As many held out of the same permutation, from its end.
  std::vector<std::int32_t> order = epoch_order(samples, stable_id("datasets/hold_out"), 0);
  const auto cut = order.end() - held;
  HoldOut out{{order.begin(), cut}, {cut, order.end()}};
  std::sort(out.rest.begin(), out.rest.end());
  std::sort(out.held.begin(), out.held.end());
  return out;
}

Subset::Subset(std::shared_ptr<const IndexedSource> source, std::vector<std::int32_t> rows,
               SubsetOptions options, std::string name)
    : source_(std::move(source)),
      rows_(std::move(rows)),
      options_(options),
      name_(std::move(name)) {
  check(source_ != nullptr, "[subset] expected a source");
  if (name_.empty()) name_ = source_->name();
  check(!rows_.empty(), "[subset] ", name_, ": expected at least one row");
  std::vector<std::int32_t> sorted = rows_;
  std::sort(sorted.begin(), sorted.end());
  check(sorted.front() >= 0 && sorted.back() < source_->samples(), "[subset] ", name_,
        ": expected rows within ", source_->samples(), " samples, got ",
        sorted.front() < 0 ? sorted.front() : sorted.back());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  check(twice == sorted.end(), "[subset] ", name_, ": row ", *twice, " is there twice");
}

std::vector<std::int32_t> Subset::places(std::int64_t epoch, std::int64_t first,
                                         std::int64_t n) const {
  check(epoch >= -1 && first >= 0 && n <= samples() - first, "[subset] ", name_,
        ": expected an epoch >= -1 and samples within ", samples(), ", got epoch ", epoch,
        ", samples ", first, " to ", first + n);
  std::vector<std::int32_t> out(static_cast<std::size_t>(n));
  if (epoch < 0 || !options_.shuffle) {
    std::iota(out.begin(), out.end(), static_cast<std::int32_t>(first));
    return out;
  }
  const Order order = [&] {
    const std::lock_guard lock(mutex_);
    if (epoch != order_epoch_) {
      order_ = std::make_shared<const std::vector<std::int32_t>>(
          epoch_order(samples(), options_.seed, epoch));
      order_epoch_ = epoch;
    }
    return order_;
  }();
  std::copy_n(order->begin() + first, n, out.begin());
  return out;
}

void Subset::fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const {
  gather(epoch, places(epoch, first, y.numel()), x, y);
}

void Subset::positions(std::int64_t epoch, std::int64_t first, Tensor& index) const {
  const auto out = index.span<std::int32_t>();
  const auto rows = places(epoch, first, index.numel());
  std::copy(rows.begin(), rows.end(), out.begin());
}

void Subset::gather(std::int64_t epoch, std::span<const std::int32_t> rows, Tensor& x,
                    Tensor& y) const {
  std::vector<std::int32_t> theirs(rows.begin(), rows.end());
  for (std::int32_t& row : theirs) {
    check(row >= 0 && row < samples(), "[subset] ", name_, ": expected rows within ", samples(),
          " samples, got ", row);
    row = rows_[static_cast<std::size_t>(row)];
  }
  source_->gather(epoch, theirs, x, y);
}

}  // namespace tessera::datasets
