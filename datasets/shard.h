// One process's part of a data set that several train on together.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/batch_source.h"

namespace tessera::datasets {

// Of every joint batch, `size` times as large as a fill(), the part of one rank: rank r gets rows
// [r n, (r + 1) n) of samples [first * size, (first + n) * size). So all ranks together see what
// one process with the joint batch sees, in the same order, but for up to size - 1 samples at the
// end of an epoch. Streams are divided likewise: each rank has its own, from beginning to end. An
// index says where a sample is in the whole set.
class Shard final : public BatchSource {
 public:
  // Throws Error unless 0 <= rank < size, there is a sample for each rank, and streams can be
  // divided evenly.
  Shard(std::shared_ptr<const BatchSource> source, std::int64_t rank, std::int64_t size);

  std::string name() const override { return source_->name(); }
  std::int64_t samples() const override { return source_->samples() / size_; }
  std::int64_t lanes() const override { return source_->lanes() / size_; }
  std::vector<Field> fields() const override { return source_->fields(); }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override;

 private:
  std::shared_ptr<const BatchSource> source_;
  std::int64_t rank_, size_;
};

}  // namespace tessera::datasets
