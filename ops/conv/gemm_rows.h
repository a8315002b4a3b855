#pragma once

#include <span>
#include <string>

#include "core/op_def.h"

namespace tessera {

// `narrow` goes before the rows on blocked images, `any` after them.
struct ConvRows {
  std::span<const KernelRow> narrow, any;
};
ConvRows conv2d_gemm_rows();
ConvRows conv2d_grad_input_gemm_rows();
ConvRows conv2d_grad_weight_gemm_rows();

// Before oneDNN's rows: "" where its blocks would be mostly padding, and nothing is blocked yet.
std::string refuses_narrow(const KernelQuery& query);

}  // namespace tessera
