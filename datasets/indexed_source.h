// Sets whose samples can be asked for one by one, and the order in which an epoch shows them.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/batch_source.h"

namespace tessera::datasets {

// The order of n samples in one epoch: a permutation of 0..n-1 that is a function of the arguments
// alone. n in [0, 2^31).
std::vector<std::int32_t> epoch_order(std::int64_t n, std::uint64_t seed, std::int64_t epoch);

// Every epoch shows all samples, shuffled anew or in the stored order; epoch -1 is the stored
// order. A set says how it makes samples by their places: write().
class IndexedSource : public BatchSource {
 public:
  // Safe to call from several threads where write() is; allocates little but when the epoch
  // changes. Throw Error when the range leaves the set, and what write() throws.
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const final;
  std::vector<Field> fields() const final;  // those of the set, and the index
  // Samples by their places in the stored order, as an epoch shows them: with its augmentation, or
  // without (-1). `batch` has as many samples as there are rows in [0, samples()), in the order of
  // the rows, without an index. Throws Error when they do not fit.
  void gather(std::int64_t epoch, std::span<const std::int32_t> rows, TensorMap& batch) const;

  // What a set consists of, and how it makes samples of some of these fields once sizes and rows
  // are known to fit.
  virtual std::vector<Field> own_fields() const = 0;
  virtual void write(std::int64_t epoch, std::span<const std::int32_t> rows,
                     TensorMap& batch) const = 0;

 protected:
  IndexedSource(bool shuffle, std::uint64_t seed) : shuffle_(shuffle), seed_(seed) {}

 private:
  using Order = std::shared_ptr<const std::vector<std::int32_t>>;
  // The order of an epoch, of which samples [first, first + n) are asked for.
  Order order(std::int64_t epoch, std::int64_t first, std::int64_t n) const;

  bool shuffle_;
  std::uint64_t seed_;
  mutable std::mutex mutex_;  // guards what follows
  mutable Order stored_, shuffled_;
  mutable std::int64_t shuffled_epoch_ = -1;
};

// Labels s32 [samples] of these rows as the field "y", where the batch has it.
void write_labels(const Tensor& labels, std::span<const std::int32_t> rows, TensorMap& batch);

}  // namespace tessera::datasets
