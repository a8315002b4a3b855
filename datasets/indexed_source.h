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
  // Safe to call from several threads where write() is; allocates only when the epoch changes.
  // Throw Error when the range leaves the set, and what write() throws.
  void fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const final;
  void positions(std::int64_t epoch, std::int64_t first, Tensor& index) const final;
  // Samples by their places in the stored order, as an epoch shows them: with its augmentation, or
  // without (-1). x f32 [n, sample...] and y s32 [n] for n rows in [0, samples()), in the order of
  // the rows. Throws Error when they do not fit.
  void gather(std::int64_t epoch, std::span<const std::int32_t> rows, Tensor& x, Tensor& y) const;
  // The same, once sizes and rows are known to fit: how a set makes its samples.
  virtual void write(std::int64_t epoch, std::span<const std::int32_t> rows, std::span<float> x,
                     std::span<std::int32_t> y) const = 0;

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

}  // namespace tessera::datasets
