// What methods that work after training see of the data: a few samples, always the same ones.
#pragma once

#include <cstdint>
#include <string>

#include "core/batch_source.h"
#include "core/compile.h"
#include "core/graph.h"
#include "core/state.h"
#include "nn/task.h"

namespace tessera::quant {

// `samples` of a set (all where it has fewer), evenly spread over its stored order and then
// shuffled, because some sets are stored by class. Of a set of streams it is as many pieces from
// the beginning of each, one stream after another as if they were one. They are read once and held;
// every epoch gives them in the same order, as evaluation would see them. Throws Error for fewer
// than one sample.
class CalibrationSet final : public BatchSource {
 public:
  CalibrationSet(const BatchSource& data, std::int64_t samples);

  std::string name() const override { return name_; }
  std::int64_t samples() const override { return samples_; }
  std::int64_t lanes() const override { return lanes_; }
  std::vector<Field> fields() const override { return fields_; }  // of the set, but for its index
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override;

  // Replaces the targets of every sample by some drawn from what the network predicts of it
  // (Task::draw_targets): squared gradients of such labels are the true Fisher information, where
  // those of the set's own are the empirical one, and a set without labels has no others. The same
  // network, set and seed give the same. Throws Error for predictions that are not finite.
  void draw_targets(const nn::Task& task, const Graph& inference, const State& state,
                    std::uint64_t seed);

  // [samples, sample...], by field.
  const TensorMap& tensors() const { return tensors_; }
  // Samples at once for a graph: where it carries values from one to the next, one.
  std::int64_t batch_for(const Graph& graph) const;
  // What a plan reads of samples [first, first + n), to run it on.
  TensorMap inputs(const Plan& plan, std::int64_t first, std::int64_t n) const;

 private:
  std::string name_;
  std::int64_t samples_, lanes_;  // 1 of streams, or 0
  std::vector<Field> fields_;
  TensorMap tensors_;
};

}  // namespace tessera::quant
