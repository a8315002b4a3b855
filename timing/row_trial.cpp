#include "timing/row_trial.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <utility>

#include "core/graph.h"
#include "core/rng.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace tessera::experiment {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The node's results where the row leaves them in a layout of its own.
std::vector<TensorType> result_types(const Node& node, const KernelPlan& plan,
                                     const std::vector<TensorType>& operands) {
  if (plan.layout.empty()) return node.types();
  Graph graph(node.graph().ops());
  std::vector<Value> inputs;
  for (std::size_t i = 0; i < operands.size(); ++i)
    inputs.push_back(node.inputs()[i] ? graph.param(std::to_string(i), operands[i]) : Value());
  Attrs attrs = node.attrs();
  attrs.set("layout", plan.layout);
  return graph.add(node.op(), std::move(inputs), std::move(attrs)).types();
}

}  // namespace

RowTrial::RowTrial(const KernelQuery& query, const KernelPlan& plan) : plan_(plan) {
  const Node& node = query.node;
  std::vector<TensorType> types;
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    const Value v = node.inputs()[i];
    TensorType type = v ? v.type() : TensorType();
    BufferRef buffer;
    if (v) buffer = planes_of(type, true);
    if (v && i < plan.packs.size() && plan.packs[i]) {
      const OperandPack& pack = *plan.packs[i];
      type.encoding = pack.encoding;
      const Packing packing{&pack, buffer, planes_of(type, false), allocate(pack.scratch_bytes)};
      buffer = packing.to;
      if (query.is_fixed(static_cast<int>(i)))
        pack_one(packing);
      else
        changing_.push_back(packing);
    }
    if (v) {
      for (const Plane& plane : type.encoding.planes(type.dtype, type.shape))
        bytes_ += plane.bytes();
    }
    types.push_back(type);
    inputs_.push_back(buffer);
  }
  for (const TensorType& type : result_types(node, plan, types)) {
    outputs_.push_back(planes_of(type, false));
    for (const Plane& plane : type.encoding.planes(type.dtype, type.shape)) bytes_ += plane.bytes();
  }
  scratch_ = allocate(plan.scratch_bytes);
  pack();
}

BufferRef RowTrial::planes_of(const TensorType& type, bool filled) {
  BufferRef out;
  int p = 0;
  for (const Plane& plane : type.encoding.planes(type.dtype, type.shape)) {
    Tensor& tensor = memory_.emplace_back(plane.dtype, plane.shape);
    if (filled && plane.dtype == DType::f32) {
      Rng rng(1, stable_id("row trial"));
      for (float& value : tensor.span<float>()) value = rng.uniform(-1, 1);
    }
    out.plane[p++] = tensor.data();
  }
  return out;
}

void RowTrial::pack_one(const Packing& packing) {
  packing.pack->pack({{&packing.from, 1}, {&packing.to, 1}, packing.scratch.get()});
}

double RowTrial::pack() {
  const auto start = Clock::now();
  for (const Packing& packing : changing_) pack_one(packing);
  return seconds_since(start);
}

double RowTrial::run() {
  const auto start = Clock::now();
  plan_.run({inputs_, outputs_, scratch_.get()});
  return seconds_since(start);
}

void RowTrial::evict() {
#if defined(__x86_64__)
  constexpr std::int64_t kLine = 64;
  for (const Tensor& tensor : memory_) {
    const auto* bytes = tensor.data();
    for (std::int64_t i = 0; i < tensor.bytes(); i += kLine) _mm_clflush(bytes + i);
  }
  _mm_mfence();
#else
  static std::vector<char> other(std::size_t{256} << 20);
  for (std::size_t i = 0; i < other.size(); i += 64) ++other[i];
#endif
}

std::vector<double> least_seconds(std::vector<RowTrial>& trials, bool cold, int runs,
                                  double seconds) {
  constexpr double kHopeless = 10;
  std::vector<double> least(trials.size(), std::numeric_limits<double>::infinity());
  double best = std::numeric_limits<double>::infinity();
  const auto begin = Clock::now();
  const double all = seconds * static_cast<double>(trials.size());
  for (int r = 0; r < runs || seconds_since(begin) < all; ++r) {
    for (std::size_t i = 0; i < trials.size(); ++i) {
      // Not by its first run, which meets new memory and new code.
      if (r > 1 && least[i] > kHopeless * best) continue;
      if (cold)
        trials[i].evict();
      else
        trials[i].run();
      least[i] = std::min(least[i], trials[i].run());
      best = std::min(best, least[i]);
    }
  }
  return least;
}

}  // namespace tessera::experiment
