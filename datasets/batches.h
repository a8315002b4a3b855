// Training batches: a shuffled walk through a dataset, converted and normalized on the way.
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"
#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "datasets/indexed_source.h"
#include "datasets/preprocess.h"

namespace tessera::datasets {

struct BatchOptions {
  std::int64_t batch = 256;  // samples of next(); fill() takes any number
  std::uint64_t seed = 1;
  bool shuffle = true;     // false: samples in the order of the set, every epoch
  bool drop_last = false;  // true: next() leaves out the samples of an incomplete last batch
  // Of as many values as an image, [1,28,28] say; by default [pixels] for images [n,h,w] and
  // [c,h,w] for images [n,c,h,w].
  Shape sample = {};
  // For sources to train on. Epoch -1, the stored order, is what evaluation sees: always as it is.
  Augment augment = {};
};

// Views into buffers of Batches: the next call of next() overwrites them.
struct Batch {
  Tensor images;   // f32 [size, sample...]
  Tensor labels;   // s32 [size]
  Tensor indices;  // s32 [size]: position of each sample in the dataset
  std::int64_t size() const { return labels.numel(); }
};

// A dataset as batches, in two ways: fill() writes any range of any epoch into the caller's tensors
// (what Trainer uses), next() walks endlessly, epoch after epoch, with buffers of its own. What a
// batch holds is a function of (data, options, epoch, first sample) alone, so a run that resumes
// with seek() sees the bits it would have seen, for any number of threads.
//
// Batches are made when asked for: on two cores 256 x 784 values take about 20 us and the training
// step of LeNet-300-100 that they feed about 2 ms. Where making them takes longer than that,
// datasets/prefetch.h makes them ahead, in a thread of its own.
class Batches final : public IndexedSource {
 public:
  // Shares the tensors of `data`. Throws Error when sizes do not fit, the set is empty, an
  // option is out of range, or drop_last leaves no batch.
  Batches(Dataset data, Preprocess preprocess, BatchOptions options = {});

  std::string name() const override { return data_.name; }
  std::int64_t samples() const override { return data_.size(); }
  std::vector<Field> own_fields() const override {
    return {{"x", DType::f32, options_.sample}, {"y", DType::s32, {}, data_.classes}};
  }
  void write(std::int64_t epoch, std::span<const std::int32_t> rows,
             TensorMap& batch) const override;

  const Dataset& data() const { return data_; }
  const Preprocess& preprocess() const { return preprocess_; }
  const BatchOptions& options() const { return options_; }

  // Batches per epoch, and the position of the batch that next() returns.
  std::int64_t steps() const { return steps_; }
  std::int64_t epoch() const { return epoch_; }
  std::int64_t step() const { return step_; }
  // Throws Error unless epoch >= 0 and step is in [0, steps()].
  void seek(std::int64_t epoch, std::int64_t step);
  // The batch at the position, which then moves on.
  const Batch& next();

 private:
  Dataset data_;
  Preprocess preprocess_;
  BatchOptions options_;
  Augmenter augmenter_;
  std::int64_t steps_ = 0, epoch_ = 0, step_ = 0;
  Batch full_, last_;  // last_: the shorter final batch, sharing the buffers of full_
};

}  // namespace tessera::datasets
