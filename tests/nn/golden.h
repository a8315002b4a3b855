// Tensors made from a formula, and the results that PyTorch gives for them (tests/golden).
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/tensor.h"

namespace tessera::testing {

// Element i is offset + scale * sin(step * i + phase), computed in f64.
inline Tensor wave(const Shape& shape, double phase, double scale = 1, double offset = 0,
                   double step = 0.9) {
  Tensor out(DType::f32, shape);
  auto values = out.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] =
        static_cast<float>(offset + scale * std::sin(step * static_cast<double>(i) + phase));
  }
  return out;
}

inline Json golden(const std::string& file) {
  const std::string path = std::string(TESSERA_TEST_DIR) + "/golden/" + file;
  return parse_json(read_file(path), path);
}

}  // namespace tessera::testing
