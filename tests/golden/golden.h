// Tensors made from a formula, and the results that PyTorch gives for them (tests/golden).
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "tests/test_dir.h"

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

// Uniform in [-1, 1), a function of a name and an index that models.py computes, too.
inline Tensor noise(std::string_view name, const Shape& shape, double scale = 1,
                    double offset = 0) {
  Tensor out(DType::f32, shape);
  auto values = out.span<float>();
  const auto h = static_cast<std::uint32_t>(stable_id(name));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto v = static_cast<std::uint32_t>(2654435761u * i * i + 40503u * i + h);
    values[i] = static_cast<float>(offset + scale * (v / 2147483648.0 - 1));
  }
  return out;
}

inline Json golden(const std::string& file) {
  const std::string path = (test_dir() / "golden" / file).string();
  return parse_json(read_file(path), path);
}

}  // namespace tessera::testing
