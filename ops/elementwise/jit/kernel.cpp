#include "ops/elementwise/jit/kernel.h"

#include <vector>

#include "ops/elementwise/jit/generate.h"
#include "ops/elementwise/jit/trace.h"
#include "ops/jit/available.h"

namespace tessera::jit {

std::shared_ptr<const Kernel> compile([[maybe_unused]] const Program& program,
                                      [[maybe_unused]] std::span<const OperandKind> kinds,
                                      CpuFeatures features) {
  if (!features.includes(kAvx512) || !can_generate_code()) return nullptr;
#if defined(__x86_64__)
  std::vector<Level> levels;
  for (const OperandKind kind : kinds) {
    levels.push_back(kind == OperandKind::scalar   ? Level::call
                     : kind == OperandKind::column ? Level::row
                                                   : Level::element);
  }
  if (const auto tape = trace(program, levels)) return generate(*tape, kinds);
#endif
  return nullptr;
}

}  // namespace tessera::jit
