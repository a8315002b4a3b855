// A kernel row by itself, run on made-up operands.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/select.h"
#include "core/tensor.h"

namespace tessera::experiment {

class RowTrial {
 public:
  // Allocates the operands as the query's node has them, dense floats between -1 and 1, indices of
  // entry 0, and packs those that the row wants packed. The query's node must outlive the trial.
  RowTrial(const KernelQuery& query, const KernelPlan& plan);

  // Seconds of one run, without packing.
  double run();
  // Seconds of packing what changes from run to run.
  double pack();
  // Takes operands and results out of the caches.
  void evict();

  std::int64_t bytes() const { return bytes_; }  // of operands as the row reads them, and results

 private:
  struct Packing {
    const OperandPack* pack;
    BufferRef from, to;
    std::shared_ptr<std::byte[]> scratch;
  };
  BufferRef planes_of(const TensorType& type, bool filled);
  static void pack_one(const Packing& packing);

  const KernelPlan& plan_;
  std::vector<Tensor> memory_;
  std::vector<BufferRef> inputs_, outputs_;
  std::vector<Packing> changing_;
  std::shared_ptr<std::byte[]> scratch_;
  std::int64_t bytes_ = 0;
};

// The least seconds of runs of each trial, in turn, hot or with caches emptied before each: at
// least `runs` of each and some `seconds` of each in all. What takes ten times as long as the
// fastest runs twice.
std::vector<double> least_seconds(std::vector<RowTrial>& trials, bool cold, int runs,
                                  double seconds);

}  // namespace tessera::experiment
