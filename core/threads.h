// Binding every part of the library to a number of threads: our own kernels and oneDNN, which
// brings OpenMP's.
#pragma once

#include <cstdint>

namespace tessera {

// While it lives, parallel work that the calling thread starts uses at most n threads, in [1,
// kMaxThreads]; with 1 no other thread is woken, no OpenMP region entered. Every run of a plan is
// in one (Plan::threads).
class ThreadScope {
 public:
  explicit ThreadScope(int n);
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int outer_, openmp_;
};

// What uses OpenMP calls this first. OpenMP's threads spin for milliseconds after every region,
// which on a busy machine makes a step of 1 ms take 40; its runtime spins for a microsecond only
// once it has more threads than there are CPUs, so this keeps a small idle team alive. Does nothing
// for one thread, where over 16 CPUs more than threads would have to be made up for (set
// OMP_WAIT_POLICY=passive there), and where GOMP_SPINCOUNT or OMP_WAIT_POLICY says what is wanted.
void limit_openmp_spinning();

namespace detail {
// Threads of OpenMP regions that the calling thread starts; returns the number before.
int bind_openmp(int n);
// For tests: every parallel_for takes a grain over `items` for `items`, so that small cases start
// threads too; 0 takes that back. The limit, for kernels that cut their work themselves; and the
// jobs so far that the calling thread gave to a team.
void limit_grain(std::int64_t items);
std::int64_t grain_limit();
std::int64_t team_jobs();
// OMP_NUM_THREADS, or the CPUs that this process may use.
int machine_threads();
}  // namespace detail

}  // namespace tessera
