#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "core/error.h"

#if defined(TESSERA_STD_THREADS)
#include <condition_variable>
#include <vector>
#else
#include <omp.h>
#endif

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
#if defined(TESSERA_STD_THREADS)
  const int n = static_cast<int>(std::thread::hardware_concurrency());
#else
  const int n = omp_get_max_threads();
#endif
  return std::clamp(n, 1, kMaxThreads);
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

#if defined(TESSERA_STD_THREADS)

// Workers wait for a job number; worker w runs the ranges w+1, the caller runs range 0. One job at
// a time: a caller that finds the pool busy runs its parts itself.
class Pool {
 public:
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  bool run(int64_t parts, int threads, detail::PartFunction function, void* context,
           FirstError& error) {
    const std::unique_lock busy(busy_, std::try_to_lock);
    if (!busy.owns_lock()) return false;
    {
      const std::lock_guard lock(mutex_);
      while (static_cast<int>(workers_.size()) < threads - 1)
        workers_.emplace_back(
            [this, w = static_cast<int>(workers_.size()) + 1, seen = job_] { work(w, seen); });
      job_parts_ = parts;
      job_threads_ = threads;
      job_function_ = function;
      job_context_ = context;
      job_error_ = &error;
      pending_ = threads - 1;
      ++job_;
    }
    wake_.notify_all();
    {
      const SerialScope inside;
      run_range(0, parts / threads, function, context, error);
    }
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    return true;
  }

 private:
  void work(int w, int64_t seen) {
    const SerialScope inside;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stop_ || job_ != seen; });
      if (stop_) return;
      seen = job_;
      if (w >= job_threads_) continue;
      const int64_t begin = job_parts_ * w / job_threads_;
      const int64_t end = job_parts_ * (w + 1) / job_threads_;
      const auto function = job_function_;
      void* context = job_context_;
      FirstError& error = *job_error_;
      lock.unlock();
      run_range(begin, end, function, context, error);
      lock.lock();
      if (--pending_ == 0) done_.notify_one();
    }
  }

  std::mutex busy_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  bool stop_ = false;
  int64_t job_ = 0, job_parts_ = 0;
  int job_threads_ = 0, pending_ = 0;
  detail::PartFunction job_function_ = nullptr;
  void* job_context_ = nullptr;
  FirstError* job_error_ = nullptr;
};

bool run_on_threads(int64_t parts, int threads, detail::PartFunction function, void* context,
                    FirstError& error) {
  static Pool pool;
  return pool.run(parts, threads, function, context, error);
}

#else

bool run_on_threads(int64_t parts, int threads, detail::PartFunction function, void* context,
                    FirstError& error) {
#pragma omp parallel num_threads(threads)
  {
    // The runtime may give fewer threads than asked for.
    const int64_t given = omp_get_num_threads(), me = omp_get_thread_num();
    const SerialScope inside;
    run_range(parts * me / given, parts * (me + 1) / given, function, context, error);
  }
  return true;
}

#endif

}  // namespace

SerialScope::SerialScope() : outer_(inside_region) {
  inside_region = true;
}
SerialScope::~SerialScope() {
  inside_region = outer_;
}

int num_threads() {
  return thread_count().load(std::memory_order_relaxed);
}

void set_num_threads(int n) {
  check(n >= 1 && n <= kMaxThreads, "the number of threads must be from 1 to ", kMaxThreads,
        ", got ", n);
  thread_count().store(n, std::memory_order_relaxed);
}

int64_t parallel_ranges(int64_t n, int64_t grain) {
  return std::min<int64_t>(num_threads(), n / std::max<int64_t>(grain, 1));
}

namespace detail {

void run_parts(int64_t parts, PartFunction function, void* context) {
  const int threads = static_cast<int>(std::min<int64_t>(parts, num_threads()));
  FirstError error;
  if (threads <= 1 || inside_region || !run_on_threads(parts, threads, function, context, error))
    run_range(0, parts, function, context, error);
  error.rethrow();
}

}  // namespace detail
}  // namespace tessera
