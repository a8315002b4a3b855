// What the rows of the LSTM scan and of its gradient share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/op_def.h"
#include "ops/recurrent/lstm_kernels.h"

namespace tessera {

// Gates of rows worth another thread.
inline constexpr std::int64_t kScanGrain = 2048;

const LstmKernels& lstm_kernels(CpuFeatures features);

inline bool has(const Node& node, std::size_t i) {
  return i < node.inputs().size() && node.inputs()[i];
}

// An f32 operand, or null.
inline const float* operand(const KernelArgs& args, std::size_t i) {
  return i < args.inputs.size() ? args.inputs[i].as<const float>() : nullptr;
}

struct ScanSize {
  std::int64_t steps, batch, h;
  bool gain, norm;

  // `gates`: f32[steps, batch, 4h].
  ScanSize(const Shape& gates, bool with_gain, bool with_norm)
      : steps(gates[0].value()),
        batch(gates[1].value()),
        h(gates[2].value() / 4),
        gain(with_gain),
        norm(with_norm) {}
  double flops() const {
    return static_cast<double>(steps * batch) * static_cast<double>(h) *
           (8 * static_cast<double>(h) + 100);
  }
};

// Parts of a run's scratch, each 64-byte aligned.
class ScanScratch {
 public:
  std::int64_t add(std::int64_t floats) {
    return add_bytes(static_cast<std::size_t>(floats) * sizeof(float));
  }
  std::int64_t add_bytes(std::size_t bytes) {
    const std::int64_t at = bytes_;
    bytes_ += (static_cast<std::int64_t>(bytes) + 63) / 64 * 64;
    return at;
  }
  std::int64_t bytes() const { return bytes_; }
  static float* at(const KernelArgs& args, std::int64_t part) {
    return reinterpret_cast<float*>(args.scratch + part);
  }

 private:
  std::int64_t bytes_ = 0;
};

}  // namespace tessera
