#include "ops/conv/rows.h"

#include <vector>

#include "ops/conv/block_rows.h"
#include "ops/conv/decoded_rows.h"
#include "ops/conv/depthwise_rows.h"
#include "ops/conv/dnnl_rows.h"
#include "ops/conv/gemm_rows.h"
#include "ops/conv/int8_rows.h"
#include "ops/conv/lane_rows.h"
#include "ops/conv/pixel_rows.h"
#include "ops/conv/register_rows.h"
#include "ops/conv/winograd_block_rows.h"
#include "ops/conv/winograd_rows.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

using Rows = std::span<const KernelRow>;

constexpr KernelRow kLast[] = {kRefRow};

std::vector<KernelRow> joined(std::initializer_list<Rows> families) {
  std::vector<KernelRow> out;
  for (const Rows rows : families) out.insert(out.end(), rows.begin(), rows.end());
  return out;
}

}  // namespace

Rows conv2d_dense_rows() {
  static const auto own = conv2d_gemm_rows();
  static const auto rows =
      joined({conv2d_lane_rows(), own.narrow, conv2d_pixel_rows(), conv2d_winograd_rows(),
              conv2d_depthwise_rows(), conv2d_dnnl_rows(), own.any, kLast});
  return rows;
}
Rows conv2d_rows() {
  static const auto rows =
      joined({conv2d_int8_rows(), conv2d_winograd_block_rows(), conv2d_register_rows(),
              conv2d_decoded_rows(), conv2d_block_rows(), conv2d_dense_rows()});
  return rows;
}
Rows conv2d_grad_input_rows() {
  static const auto own = conv2d_grad_input_gemm_rows();
  static const auto rows =
      joined({conv2d_grad_input_lane_rows(), own.narrow, conv2d_grad_input_pixel_rows(),
              conv2d_grad_input_winograd_rows(), conv2d_grad_input_depthwise_rows(),
              conv2d_grad_input_dnnl_rows(), own.any, kLast});
  return rows;
}
Rows conv2d_grad_weight_rows() {
  static const auto own = conv2d_grad_weight_gemm_rows();
  static const auto rows =
      joined({conv2d_grad_weight_lane_rows(), own.narrow, conv2d_grad_weight_pixel_rows(),
              conv2d_grad_weight_winograd_rows(), conv2d_grad_weight_depthwise_rows(),
              conv2d_grad_weight_dnnl_rows(), own.any, kLast});
  return rows;
}

}  // namespace tessera
