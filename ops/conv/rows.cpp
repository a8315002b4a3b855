#include "ops/conv/rows.h"

#include "ops/ref_row.h"

namespace tessera {

namespace {

constexpr KernelRow kForward[] = {kRefRow};
constexpr KernelRow kGradInput[] = {kRefRow};
constexpr KernelRow kGradWeight[] = {kRefRow};

}  // namespace

std::span<const KernelRow> conv2d_rows() {
  return kForward;
}
std::span<const KernelRow> conv2d_grad_input_rows() {
  return kGradInput;
}
std::span<const KernelRow> conv2d_grad_weight_rows() {
  return kGradWeight;
}

}  // namespace tessera
