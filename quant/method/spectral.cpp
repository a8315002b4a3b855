#include "quant/method/spectral.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/linear_algebra.h"

namespace tessera::quant {

Tensor leading_left_vectors(const Tensor& weight, int k) {
  check(k >= 1, "[spectral] needs at least one vector, got ", k);
  const auto rows = static_cast<int>(weight.shape()[0].value());
  const std::vector<double> gram = linalg::gram(weight.span<float>(), rows);
  double trace = 0;
  for (int r = 0; r < rows; ++r) trace += gram[static_cast<std::size_t>(r) * (rows + 1)];
  const std::vector<double> vectors = linalg::leading_eigenvectors(gram, rows, k, 1e-13 * trace);
  Tensor out(DType::f32, {rows, k});
  const auto values = out.span<float>();
  for (std::size_t i = 0; i < vectors.size(); ++i)
    values[i % rows * k + i / rows] = static_cast<float>(vectors[i]);
  return out;
}

}  // namespace tessera::quant
