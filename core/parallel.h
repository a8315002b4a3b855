// Threads: one parallel_for for everything, on a team of this library's own that waits for some
// microseconds before it sleeps. Every thread that calls has a team of its own, made at its first
// parallel work and ended with the thread. core/threads.h binds all parts, oneDNN's too, to a
// number.
#pragma once

#include <cstdint>
#include <type_traits>

namespace tessera {

inline constexpr int kMaxThreads = 256;

// Threads that a parallel region started here uses: those of the calling thread's ThreadScope, else
// of set_num_threads; at first TESSERA_THREADS or what OMP_NUM_THREADS or the CPUs say.
int num_threads();

// Sets num_threads() for the process; n in [1, kMaxThreads], otherwise Error.
void set_num_threads(int n);

// While it lives, parallel work of the calling thread runs inline: for a thread that works beside
// those of a parallel region, which would otherwise start a second team on the same cores.
class SerialScope {
 public:
  SerialScope();
  ~SerialScope();
  SerialScope(const SerialScope&) = delete;
  SerialScope& operator=(const SerialScope&) = delete;

 private:
  bool outer_;
};

namespace detail {
using PartFunction = void (*)(void* context, int64_t part);
void run_parts(int64_t parts, PartFunction function, void* context);
}  // namespace detail

// Calls fn(part) once for every part in [0, parts), the parts spread over at most num_threads()
// threads. Returns when all are done. One part, and any call made inside a part, runs inline. The
// first exception (by part number) is rethrown here after all parts have ended.
template <class F>
void parallel_parts(int64_t parts, F&& fn) {
  if (parts == 1) {
    fn(int64_t{0});
    return;
  }
  using Fn = std::remove_reference_t<F>;
  detail::run_parts(
      parts, [](void* context, int64_t part) { (*static_cast<Fn*>(context))(part); },
      const_cast<void*>(static_cast<const void*>(&fn)));
}

// Number of ranges parallel_for cuts n items into.
int64_t parallel_ranges(int64_t n, int64_t grain);

// Calls fn(begin, end) on ranges that cover [0, n) once, each of at least `grain` items (except
// when n < grain), at most one per thread. Items must not depend on the range they fall into, so
// results do not depend on the thread count; sums over items use fixed chunks as the items.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& fn) {
  if (n <= 0) return;
  const int64_t ranges = parallel_ranges(n, grain);
  if (ranges <= 1) {
    fn(int64_t{0}, n);
    return;
  }
  parallel_parts(ranges, [&](int64_t r) { fn(n * r / ranges, n * (r + 1) / ranges); });
}

}  // namespace tessera
