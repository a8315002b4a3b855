// Batches to time training steps on.
#pragma once

#include <memory>

#include "core/batch_source.h"

namespace tessera::experiment {

// An "epoch" of some full batches of a source, which may be of any length.
class FullBatches final : public BatchSource {
 public:
  FullBatches(std::shared_ptr<const BatchSource> source, std::int64_t batch, std::int64_t steps)
      : source_(std::move(source)), batch_(batch), steps_(steps) {}
  std::string name() const override { return source_->name(); }
  std::int64_t samples() const override { return batch_ * steps_; }
  std::int64_t lanes() const override { return source_->lanes(); }
  std::vector<Field> fields() const override { return source_->fields(); }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    source_->fill(epoch, at(first), batch);
  }

 private:
  std::int64_t at(std::int64_t first) const {
    return first / batch_ % (source_->samples() / batch_) * batch_ + first % batch_;
  }

  std::shared_ptr<const BatchSource> source_;
  std::int64_t batch_, steps_;
};

}  // namespace tessera::experiment
