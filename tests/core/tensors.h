// Tensors of random values, and tensors against what they should be.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace tessera::testing {

// f32, uniform in [-1, 1).
inline Tensor random_tensor(const Shape& shape, std::uint64_t stream) {
  Tensor t(DType::f32, shape);
  Rng rng(7, stream);
  for (float& v : t.span<float>()) v = rng.uniform(-1, 1);
  return t;
}

inline void expect_near(const Tensor& t, const std::vector<double>& wanted, double bound,
                        const std::string& what) {
  ASSERT_EQ(t.numel(), static_cast<std::int64_t>(wanted.size())) << what;
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    ASSERT_NEAR(element(t, i), wanted[static_cast<std::size_t>(i)], bound)
        << what << " element " << i;
  }
}

}  // namespace tessera::testing
