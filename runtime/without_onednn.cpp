// Convolution's rows of oneDNN in a library without it: none, so that the rows behind them serve.
#include "ops/conv/dnnl_rows.h"

namespace tessera {

std::span<const KernelRow> conv2d_dnnl_rows() {
  return {};
}
std::span<const KernelRow> conv2d_grad_input_dnnl_rows() {
  return {};
}
std::span<const KernelRow> conv2d_grad_weight_dnnl_rows() {
  return {};
}

}  // namespace tessera
