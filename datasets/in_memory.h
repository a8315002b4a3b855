// Samples that a program already has as tensors, as batches: any shape, no preprocessing.
#pragma once

#include <cstdint>
#include <string>

#include "datasets/indexed_source.h"

namespace tessera::datasets {

struct InMemoryOptions {
  std::string name = "in memory";  // for messages
  std::int64_t classes = 0;        // 0: the largest label + 1
  std::uint64_t seed = 1;          // of the order, another in every epoch
  bool shuffle = true;             // false: the stored order in every epoch
};

// fill() writes the values of `x` as f32, and the labels. Safe to call from several threads.
class InMemory final : public IndexedSource {
 public:
  // x [n, sample...] of f32, bf16, s8, u8 or s32; y s32 [n], each in [0, classes). Shares the
  // tensors' elements, which must not change. Throws Error when there is no sample, sizes differ, a
  // dtype is another one or a label is outside.
  InMemory(Tensor x, Tensor y, InMemoryOptions options = {});

  std::string name() const override { return options_.name; }
  std::int64_t samples() const override { return y_.numel(); }
  std::vector<Field> own_fields() const override {
    return {{"x", DType::f32, sample_}, {"y", DType::s32, {}, options_.classes}};
  }
  void write(std::int64_t epoch, std::span<const std::int32_t> rows,
             TensorMap& batch) const override;

 private:
  Tensor x_, y_;
  InMemoryOptions options_;
  Shape sample_;
};

}  // namespace tessera::datasets
