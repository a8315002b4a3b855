// Ops by which ranks (core/communicator.h) act as one: means over all of them, rows of all of them,
// moments of the joint batch. With one rank each gives what it got.
#pragma once

#include <vector>

#include "core/op_def.h"
#include "ops/communication/gradient_code.h"

namespace tessera {

extern const OpDef kAllReduce, kAllReduceStart, kAllReduceFinish, kAllGather, kJointMoments;

namespace ops {

// The means of f32 values over the ranks, in one message. The gradient likewise: a rank's cotangent
// is that of the sum of what all ranks minimise.
std::vector<Value> all_reduce(const std::vector<Value>& values, std::int64_t ranks);
Value all_reduce(Value value, std::int64_t ranks);
// Rows of all ranks, by rank: [n, ...] -> [ranks n, ...], any dtype.
Value all_gather(Value x, std::int64_t ranks);
// Mean and variance (mean squared deviation) of as many numbers on each rank -> of all of them.
std::vector<Value> joint_moments(Value mean, Value variance, std::int64_t ranks);

// A bucket of gradients whose mean is made while other nodes run (ops/communication/reduction.h).
struct Bucket {
  std::vector<Value> values;             // f32
  std::vector<std::int64_t> exact = {};  // of them: those that are never coded
  GradientCode code = {};
  // What the code lost, f32 [numbers of all values]; where it loses.
  Value residual = {}, mean_residual = {};
};
struct Reduced {
  std::vector<Value> values;
  Value residual = {}, mean_residual = {};  // the next ones
};
Reduced all_reduce_bucket(Graph& graph, const Bucket& bucket, std::int64_t ranks);

}  // namespace ops
}  // namespace tessera
