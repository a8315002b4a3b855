// Samples that a program already has as tensors, as batches: any shape, no preprocessing.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/batch_source.h"

namespace tessera::datasets {

struct InMemoryOptions {
  std::string name = "in memory";  // for messages
  std::int64_t classes = 0;        // 0: the largest label + 1
  std::uint64_t seed = 1;          // of the order, another in every epoch
  bool shuffle = true;             // false: the stored order in every epoch
};

// fill() writes the values of `x` as f32, and the labels.
class InMemory final : public BatchSource {
 public:
  // x [n, sample...] of f32, bf16, s8, u8 or s32; y s32 [n], each in [0, classes). Shares the
  // tensors' elements, which must not change. Throws Error when there is no sample, sizes differ, a
  // dtype is another one or a label is outside.
  InMemory(Tensor x, Tensor y, InMemoryOptions options = {});

  std::string name() const override { return options_.name; }
  std::int64_t samples() const override { return y_.numel(); }
  std::int64_t classes() const override { return options_.classes; }
  Shape sample_shape() const override { return sample_; }
  // Safe to call from several threads.
  void fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const override;
  void positions(std::int64_t epoch, std::int64_t first, Tensor& index) const override;

 private:
  using Order = std::shared_ptr<const std::vector<std::int32_t>>;
  Order order(std::int64_t epoch, std::int64_t first, std::int64_t count) const;

  Tensor x_, y_;
  InMemoryOptions options_;
  Shape sample_;
  Order stored_;
  mutable std::mutex mutex_;  // guards the two below
  mutable Order order_;       // of the epoch asked for last
  mutable std::int64_t order_epoch_ = -1;
};

}  // namespace tessera::datasets
