#include "core/threads.h"

#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

#include "core/parallel.h"

#if !defined(TESSERA_STD_THREADS)
#include <omp.h>
#endif

namespace tessera {

#if defined(TESSERA_STD_THREADS)  // ThreadSanitizer: OpenMP's runtime is not instrumented

void limit_openmp_spinning() {}
int detail::bind_openmp(int n) {
  return n;
}
int detail::machine_threads() {
  return static_cast<int>(std::thread::hardware_concurrency());
}

#else

int detail::bind_openmp(int n) {
  const int before = omp_get_max_threads();
  if (before != n) omp_set_num_threads(n);
  return before;
}

int detail::machine_threads() {
  return omp_get_max_threads();
}

void limit_openmp_spinning() {
  const int threads = num_threads();
  if (threads == 1) return;
  static std::once_flag once;
  std::call_once(once, [threads] {
    if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
    // With the threads of a plan that are not the caller, one more than CPUs.
    constexpr int kMostIdle = 16;
    const int idle = std::max(1, omp_get_num_procs() - threads + 1);
    if (idle > kMostIdle) return;
    try {
      std::thread([idle] {
        std::atomic<int> started = 0;  // an empty region is optimized away
#pragma omp parallel num_threads(idle + 1)
        ++started;
        // The team stays as long as the thread that made it.
        while (true) ::pause();
      }).detach();
    } catch (const std::system_error&) {
      // No thread to be had: OpenMP spins as it likes.
    }
  });
}

#endif

}  // namespace tessera
