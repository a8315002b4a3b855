#include "ops/norm/plane_sums.h"

namespace tessera {

const NormKernels& norm_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx512)) return tessera_norm_avx512;
  if (features.includes(kAvx2)) return tessera_norm_avx2;
#endif
  return tessera_norm_ref;
}

KernelPlan plan_channel_sums(const KernelQuery& query, CpuFeatures features) {
  const TensorType& type = query.node.input(0).type();
  const bool blocked = is_blocked(type);
  const PlaneSums sums(type.shape, blocked, &norm_kernels(features));
  KernelPlan plan;
  plan.scratch_bytes = sums.scratch_bytes();
  plan.flops = static_cast<double>(type.shape.numel());
  plan.run = [sums, blocked](const KernelArgs& args) {
    const float* x = args.in(0).as<const float>();
    auto* scratch = reinterpret_cast<float*>(args.scratch);
    sums.run(scratch, [&](std::int64_t at, std::int64_t, float* sum, float* rest) {
      sums.kernels->sums[blocked](x + at, sums.pixels, sum);
      std::fill_n(rest, sums.lanes, 0.0f);
    });
    float* out = args.out().as<float>();
    sums.total(scratch, [&](std::int64_t c, double a, double) { out[c] = static_cast<float>(a); });
  };
  return plan;
}

}  // namespace tessera
