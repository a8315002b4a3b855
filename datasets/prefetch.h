// Batches made ahead of time, in threads of their own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/batch_source.h"

namespace tessera::datasets {

struct PrefetchOptions {
  int ahead = 2;  // batches kept ready
  // Threads that make them, each a batch at a time. With more than one, fill() of the source must
  // be safe to call from several threads.
  int workers = 1;
};

struct PrefetchCounts {
  std::int64_t fills = 0;
  std::int64_t direct = 0;     // of these: not foreseen, made while the caller waited
  std::int64_t waits = 0;      // of these: foreseen, but not ready
  std::int64_t wait_us = 0;    // microseconds that those waits took
  std::int64_t direct_us = 0;  // and that the direct ones took
};

// Gives what `source` gives, to the bit. It foresees that a caller goes on where its last fill()
// ended, or as far behind it as the last one was (one of several ranks has its rows of every
// batch), with batches of the same size and fields, and into the next epoch at the end of one
// (epoch -1 has no next). Any other call is passed on to the source, and the foresight starts anew
// from there. An exception of the source is thrown by the fill() that would have met it.
class Prefetch final : public BatchSource {
 public:
  // Throws Error when an option is below 1 or there is no source.
  explicit Prefetch(std::shared_ptr<const BatchSource> source, PrefetchOptions options = {});
  // Waits for the batches being made.
  ~Prefetch() override;

  std::string name() const override { return source_->name(); }
  std::int64_t samples() const override { return source_->samples(); }
  std::int64_t lanes() const override { return source_->lanes(); }
  std::vector<Field> fields() const override { return source_->fields(); }
  // Safe to call from several threads, which take turns.
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override;

  PrefetchCounts counts() const;

 private:
  struct Range {
    std::int64_t epoch = 0, first = 0, n = 0;
    friend bool operator==(const Range&, const Range&) = default;
  };
  enum class Stage { waiting, making, ready };
  struct Slot {
    Range range;
    std::vector<Field> fields = {};
    Stage stage = Stage::waiting;
    TensorMap batch;  // of at least range.n samples
    std::exception_ptr error;
  };
  using Lock = std::unique_lock<std::mutex>;

  void work();
  void make(Slot& slot) const;
  std::shared_ptr<Slot> waiting() const;
  // Adds slots up to `ahead`, going on from `last`.
  void foresee(Range last) const;
  Range after(const Range& last) const;  // n is 0 where there is none
  void learn(const Range& asked) const;
  void take(Lock& lock, TensorMap& batch) const;
  void fill_directly(Lock& lock, const Range& range, TensorMap& batch) const;

  std::shared_ptr<const BatchSource> source_;
  PrefetchOptions options_;

  mutable std::mutex caller_;  // held during fill()
  mutable std::mutex mutex_;   // guards all below
  mutable std::condition_variable work_, done_;
  mutable std::deque<std::shared_ptr<Slot>> slots_;   // in the order they will be asked for
  mutable std::vector<std::shared_ptr<Slot>> spare_;  // whose buffers can be used again
  mutable std::int64_t batch_ = 0;                    // samples of a batch
  mutable std::int64_t step_ = 0;                     // from one to the next: those of all ranks
  mutable Range last_;                                // what was asked for last
  mutable std::vector<Field> fields_;                 // and what is asked of them
  mutable int making_ = 0;
  mutable PrefetchCounts counts_;
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace tessera::datasets
