#include "ops/jit/available.h"

#include "core/environment.h"

#if defined(__x86_64__)
#include <xbyak/xbyak.h>
#endif

namespace tessera {

bool can_generate_code() {
#if defined(__x86_64__)
  static const bool can = [] {
    if (environment_lists("TESSERA_JIT", "0")) return false;
    try {
      Xbyak::CodeGenerator probe(4096, Xbyak::AutoGrow);
      probe.ret();
      probe.readyRE();
      return true;
    } catch (const Xbyak::Error&) {
      return false;
    }
  }();
  return can;
#else
  return false;
#endif
}

}  // namespace tessera
