#include "datasets/subset.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/rng.h"

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
    : IndexedSource(options.shuffle, options.seed),
      source_(std::move(source)),
      rows_(std::move(rows)),
      name_(std::move(name)) {
  check(source_ != nullptr, "[subset] expected a source");
  if (name_.empty()) name_ = source_->name();
  check(!rows_.empty(), "[subset] ", name_, ": expected at least one row");
  std::vector<std::int32_t> sorted = rows_;
  std::sort(sorted.begin(), sorted.end());
  check(sorted.front() >= 0 && sorted.back() < source_->samples(), "[subset] ", name_,
        ": expected rows within ", source_->samples(), " samples, got ",
        sorted.front() < 0 ? sorted.front() : sorted.back());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    fail("[subset] ", name_, ": row ", *twice, " is there twice");
}

void Subset::write(std::int64_t epoch, std::span<const std::int32_t> rows, TensorMap& batch) const {
  std::vector<std::int32_t> theirs;
  theirs.reserve(rows.size());
  for (const std::int32_t row : rows) theirs.push_back(rows_[static_cast<std::size_t>(row)]);
  source_->write(epoch, theirs, batch);
}

}  // namespace tessera::datasets
