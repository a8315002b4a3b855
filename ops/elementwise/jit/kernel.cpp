#include "ops/elementwise/jit/kernel.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "ops/elementwise/jit/generate.h"
#include "ops/elementwise/jit/trace.h"

namespace tessera::jit {

namespace {

bool is_off() {
  static const bool off = [] {
    const char* word = std::getenv("TESSERA_JIT");
    return word != nullptr && std::string_view(word) == "0";
  }();
  return off;
}

}  // namespace

std::shared_ptr<const Kernel> compile([[maybe_unused]] const Program& program,
                                      [[maybe_unused]] std::span<const OperandKind> kinds,
                                      CpuFeatures features) {
  if (is_off() || !features.includes(kAvx512)) return nullptr;
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
