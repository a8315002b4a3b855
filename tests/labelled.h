// Sources for tests: samples made one by one by a function.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "core/batch_source.h"

namespace tessera::testing {

// "x" f32 [sample...] and "y" s32 in [0, classes), and the index.
class Labelled : public BatchSource {
 public:
  Labelled(std::string name, std::int64_t samples, Shape sample, std::int64_t classes)
      : name_(std::move(name)), samples_(samples), sample_(std::move(sample)), classes_(classes) {}
  std::string name() const override { return name_; }
  std::int64_t samples() const override { return samples_; }
  std::vector<Field> fields() const override {
    return {{"x", DType::f32, sample_},
            {"y", DType::s32, {}, classes_},
            {kIndexField, DType::s32, {}, samples_}};
  }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    const std::int64_t n = batch_size(batch, fields(), name_);
    begin_fill();
    const auto size = static_cast<std::size_t>(sample_.numel());
    std::vector<float> unused(size);
    for (std::int64_t i = 0; i < n; ++i) {
      const auto row = static_cast<std::size_t>(i);
      const std::int64_t at = place(epoch, first + i);
      std::span<float> x = unused;
      if (const auto to = batch.find("x"); to != batch.end())
        x = to->second.span<float>().subspan(row * size, size);
      const std::int32_t label = make(at, x);
      if (const auto y = batch.find("y"); y != batch.end())
        y->second.span<std::int32_t>()[row] = label;
      if (const auto index = batch.find(kIndexField); index != batch.end())
        index->second.span<std::int32_t>()[row] = static_cast<std::int32_t>(at);
    }
  }

 protected:
  // The sample at a place of the stored order: writes x, returns the label.
  virtual std::int32_t make(std::int64_t at, std::span<float> x) const = 0;
  // The place of the i-th sample of an epoch; -1 is the stored order.
  virtual std::int64_t place(std::int64_t /*epoch*/, std::int64_t i) const { return i; }
  virtual void begin_fill() const {}

 private:
  std::string name_;
  std::int64_t samples_;
  Shape sample_;
  std::int64_t classes_;
};

}  // namespace tessera::testing
