#include "datasets/shard.h"

#include <utility>

namespace tessera::datasets {

Shard::Shard(std::shared_ptr<const BatchSource> source, std::int64_t rank, std::int64_t size)
    : source_(std::move(source)), rank_(rank), size_(size) {
  check(source_ != nullptr, "a shard needs a source");
  check(size >= 1 && rank >= 0 && rank < size, "expected a rank in [0, ", size, "), got ", rank);
  check(source_->samples() >= size, name(), " has ", source_->samples(), " samples for ", size,
        " ranks");
  check(source_->lanes() % size == 0, name(), " has ", source_->lanes(), " streams, which ", size,
        " ranks cannot divide evenly");
}

void Shard::fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const {
  const std::int64_t n = batch_size(batch, fields(), name());
  check(first >= 0 && first + n <= samples(), name(), ": samples ", first, " to ", first + n,
        " of a shard of ", samples());
  source_->fill(epoch, first * size_ + rank_ * n, batch);
}

}  // namespace tessera::datasets
