// Batches to time training steps on.
#pragma once

#include <memory>

#include "core/batch_source.h"

namespace tessera::apps {

// An "epoch" of some full batches of a source, which may be of any length.
class FullBatches final : public BatchSource {
 public:
  FullBatches(std::shared_ptr<const BatchSource> source, std::int64_t batch, std::int64_t steps)
      : source_(std::move(source)), batch_(batch), steps_(steps) {}
  std::string name() const override { return source_->name(); }
  std::int64_t samples() const override { return batch_ * steps_; }
  std::int64_t classes() const override { return source_->classes(); }
  Shape sample_shape() const override { return source_->sample_shape(); }
  void fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const override {
    source_->fill(epoch, at(first), x, y);
  }
  void positions(std::int64_t epoch, std::int64_t first, Tensor& index) const override {
    source_->positions(epoch, at(first), index);
  }

 private:
  std::int64_t at(std::int64_t first) const {
    return first / batch_ % (source_->samples() / batch_) * batch_;
  }

  std::shared_ptr<const BatchSource> source_;
  std::int64_t batch_, steps_;
};

}  // namespace tessera::apps
