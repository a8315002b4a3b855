#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <limits>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/threads.h"

namespace tessera {
namespace {

int initial_threads() {
  if (const char* word = std::getenv("TESSERA_THREADS"); word && *word) {
    char* end = nullptr;
    const long n = std::strtol(word, &end, 10);
    check(*end == 0 && n >= 1 && n <= kMaxThreads, "TESSERA_THREADS=", word,
          " is not a number from 1 to ", kMaxThreads);
    return static_cast<int>(n);
  }
  return std::clamp(detail::machine_threads(), 1, kMaxThreads);
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{initial_threads()};
  return count;
}

thread_local bool inside_region = false;

// Keeps the exception of the lowest part, so that which one is seen does not depend on timing.
class FirstError {
 public:
  void keep(int64_t part) {
    const std::lock_guard lock(mutex_);
    if (part < part_) {
      part_ = part;
      error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  int64_t part_ = std::numeric_limits<int64_t>::max();
  std::exception_ptr error_;
};

void run_range(int64_t begin, int64_t end, detail::PartFunction function, void* context,
               FirstError& error) {
  for (int64_t part = begin; part < end; ++part) {
    try {
      function(context, part);
    } catch (...) {
      error.keep(part);
    }
  }
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// A job is cut into one range of its parts for each thread; the caller and the workers claim ranges
// until none is left. So a caller whose workers are slow to come, on a busy machine, does their
// share itself: a job never takes longer than it would on one thread and a wake-up.
//
// Waiting spins for some microseconds, then sleeps: enough that the steps of a plan, which follow
// each other closely, find the workers awake; too short to keep a core from those who need it.
class Team {
 public:
  ~Team() {
    stop_ = true;
    ++job_;
    job_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void run(int64_t parts, int threads, detail::PartFunction function, void* context,
           FirstError& error) {
    hire(threads - 1);
    parts_ = parts;
    function_ = function;
    context_ = context;
    error_ = &error;
    done_.store(0, std::memory_order_relaxed);
    const auto count = static_cast<std::uint64_t>(threads);
    const std::uint64_t last = ticket_.load(std::memory_order_relaxed);
    ticket_.store(((last >> 32) + 1) << 32 | count << 16, std::memory_order_release);
    ++job_;
    job_.notify_all();
    {
      const SerialScope inside;
      claim();
    }
    for (int now; (now = done_.load(std::memory_order_acquire)) != threads;) wait(done_, now);
  }

 private:
  void hire(int workers) {
    try {
      while (static_cast<int>(workers_.size()) < workers)
        workers_.emplace_back([this, seen = job_.load()] { work(seen); });
    } catch (const std::system_error&) {
      // Fewer than wanted: the others do their share.
    }
  }

  void work(int seen) {
    const SerialScope inside;
    detail::bind_openmp(1);
    while (true) {
      wait(job_, seen);
      if (stop_) return;
      seen = job_.load(std::memory_order_acquire);
      claim();
    }
  }

  // Until `value` is not `old` any more.
  void wait(const std::atomic<int>& value, int old) const {
    for (int i = 0; i < spins_; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      relax();
    }
    value.wait(old, std::memory_order_acquire);
  }

  void claim() {
    std::uint64_t now = ticket_.load(std::memory_order_acquire);
    while (true) {
      const auto next = static_cast<int64_t>(now & 0xffff),
                 count = static_cast<int64_t>(now >> 16 & 0xffff);
      if (next >= count) return;
      // While a range is not done its job is there: only a claim makes the fields below readable.
      if (!ticket_.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel)) continue;
      run_range(parts_ * next / count, parts_ * (next + 1) / count, function_, context_, *error_);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) done_.notify_one();
      now = ticket_.load(std::memory_order_acquire);
    }
  }

  static constexpr int kSpins = 1000;
  const int spins_ = std::thread::hardware_concurrency() > 1 ? kSpins : 0;
  std::vector<std::thread> workers_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> job_ = 0, done_ = 0;    // jobs so far; finished ranges of this one
  std::atomic<std::uint64_t> ticket_ = 0;  // job's number << 32 | ranges << 16 | next to claim
  int64_t parts_ = 0;
  detail::PartFunction function_ = nullptr;
  void* context_ = nullptr;
  FirstError* error_ = nullptr;
};

// Of the calling thread: jobs of several threads run side by side.
Team& team() {
  thread_local Team own;
  return own;
}

constexpr int64_t kAnyGrain = std::numeric_limits<int64_t>::max();
std::atomic<int64_t> most_grain = kAnyGrain;
thread_local int64_t jobs_given = 0;

thread_local int bound_threads = 0;  // of the ThreadScope that the calling thread is in; 0: none

}  // namespace

SerialScope::SerialScope() : outer_(inside_region) {
  inside_region = true;
}
SerialScope::~SerialScope() {
  inside_region = outer_;
}

ThreadScope::ThreadScope(int n) : outer_(bound_threads) {
  TESSERA_ASSERT(n >= 1 && n <= kMaxThreads);
  bound_threads = n;
  openmp_ = detail::bind_openmp(n);
}
ThreadScope::~ThreadScope() {
  bound_threads = outer_;
  detail::bind_openmp(openmp_);
}

int num_threads() {
  if (bound_threads > 0) return bound_threads;
  return thread_count().load(std::memory_order_relaxed);
}

void set_num_threads(int n) {
  check(n >= 1 && n <= kMaxThreads, "the number of threads must be from 1 to ", kMaxThreads,
        ", got ", n);
  thread_count().store(n, std::memory_order_relaxed);
  detail::bind_openmp(n);
}

int64_t parallel_ranges(int64_t n, int64_t grain) {
  grain = std::min(grain, most_grain.load(std::memory_order_relaxed));
  return std::min<int64_t>(num_threads(), n / std::max<int64_t>(grain, 1));
}

namespace detail {

void limit_grain(std::int64_t items) {
  most_grain = items > 0 ? items : kAnyGrain;
}
std::int64_t grain_limit() {
  return most_grain;
}
std::int64_t team_jobs() {
  return jobs_given;
}

void run_parts(int64_t parts, PartFunction function, void* context) {
  const int threads = static_cast<int>(std::min<int64_t>(parts, num_threads()));
  FirstError error;
  if (threads <= 1 || inside_region) {
    run_range(0, parts, function, context, error);
  } else {
    ++jobs_given;
    team().run(parts, threads, function, context, error);
  }
  error.rethrow();
}

}  // namespace detail
}  // namespace tessera
