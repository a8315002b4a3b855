// What methods that work after training see of the data: a few samples, always the same ones.
#pragma once

#include <cstdint>
#include <string>

#include "core/batch_source.h"
#include "core/graph.h"
#include "core/state.h"

namespace tessera::quant {

// `samples` of a set (all where it has fewer), evenly spread over its stored order and then
// shuffled, because some sets are stored by class. They are read once and held; every epoch gives
// them in the same order, as evaluation would see them. Throws Error for fewer than one sample.
class CalibrationSet final : public BatchSource {
 public:
  CalibrationSet(const BatchSource& data, std::int64_t samples);

  std::string name() const override { return name_; }
  std::int64_t samples() const override { return y_.numel(); }
  std::int64_t classes() const override { return classes_; }
  Shape sample_shape() const override { return sample_; }
  void fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const override;

  // Replaces every label by one drawn from what the network says of the sample, the softmax of its
  // "logits": squared gradients of such labels are the true Fisher information, where those of the
  // set's own are the empirical one, and a set without labels has no others. The same network, set
  // and seed give the same labels. Throws Error for logits that are not finite.
  void draw_labels(const Graph& inference, const State& state, std::uint64_t seed);

  const Tensor& x() const { return x_; }  // f32 [samples, sample...]
  const Tensor& y() const { return y_; }  // s32 [samples]

 private:
  std::string name_;
  std::int64_t classes_;
  Shape sample_;
  Tensor x_, y_;
};

}  // namespace tessera::quant
