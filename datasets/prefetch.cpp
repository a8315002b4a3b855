#include "datasets/prefetch.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/parallel.h"

namespace tessera::datasets {
namespace {

using Clock = std::chrono::steady_clock;

std::int64_t microseconds_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
}

bool has_fields(const TensorMap& batch, const std::vector<Field>& fields) {
  return batch.size() == fields.size() &&
         std::all_of(fields.begin(), fields.end(),
                     [&](const Field& field) { return batch.contains(field.name); });
}

}  // namespace

Prefetch::Prefetch(std::shared_ptr<const BatchSource> source, PrefetchOptions options)
    : source_(std::move(source)), options_(options) {
  check(source_ != nullptr, "[prefetch] expected a source of batches");
  check(options.ahead >= 1 && options.workers >= 1,
        "[prefetch] expected at least 1 batch ahead and 1 worker, got ", options.ahead, " and ",
        options.workers);
  for (int i = 0; i < std::min(options.workers, options.ahead); ++i)
    workers_.emplace_back([this] { work(); });
}

Prefetch::~Prefetch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

PrefetchCounts Prefetch::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::shared_ptr<Prefetch::Slot> Prefetch::waiting() const {
  const auto found = std::find_if(slots_.begin(), slots_.end(),
                                  [](const auto& slot) { return slot->stage == Stage::waiting; });
  return found == slots_.end() ? nullptr : *found;
}

void Prefetch::work() {
  const SerialScope serial;  // the cores belong to the training step
  Lock lock(mutex_);
  while (true) {
    std::shared_ptr<Slot> slot;
    work_.wait(lock, [&] { return stop_ || (slot = waiting()); });
    if (stop_) return;
    slot->stage = Stage::making;
    ++making_;
    lock.unlock();
    make(*slot);
    lock.lock();
    slot->stage = Stage::ready;
    --making_;
    done_.notify_all();
  }
}

void Prefetch::make(Slot& slot) const {
  try {
    const std::int64_t n = slot.range.n;
    if (!has_fields(slot.batch, slot.fields) || slot.batch.begin()->second.shape()[0].value() < n) {
      slot.batch = batch_of(slot.fields, n);
    }
    TensorMap rows = slice(slot.batch, 0, n);
    source_->fill(slot.range.epoch, slot.range.first, rows);
  } catch (...) {
    slot.error = std::current_exception();
  }
}

// Batches are step_ samples for all ranks, the last of an epoch fewer; each rank has an equal part.
Prefetch::Range Prefetch::after(const Range& last) const {
  const std::int64_t samples = source_->samples(), ranks = step_ / batch_;
  const std::int64_t begin = ranks > 1 ? last.first / step_ * step_ : last.first;
  const std::int64_t rank = (last.first - begin) / std::max<std::int64_t>(last.n, 1);
  Range next{last.epoch, begin + (ranks > 1 ? step_ : last.n), 0};
  if (samples - next.first < ranks) {
    if (last.epoch < 0) return next;
    next = {last.epoch + 1, 0, 0};
  }
  next.n = std::min(step_, samples - next.first) / ranks;
  next.first += rank * next.n;
  return next;
}

// How far apart its batches are, by the last two.
void Prefetch::learn(const Range& asked) const {
  const std::int64_t apart = asked.first - last_.first;
  const bool follows = asked.epoch == last_.epoch && asked.n == last_.n && apart > asked.n;
  if (follows && apart % asked.n == 0 && asked.first % apart % asked.n == 0) step_ = apart;
  if (asked.epoch == last_.epoch && apart == asked.n) step_ = asked.n;
  const bool fits = step_ > asked.n && step_ % asked.n == 0 && asked.first % step_ % asked.n == 0;
  if (!fits) step_ = asked.n;
}

void Prefetch::foresee(Range last) const {
  if (!slots_.empty()) last = slots_.back()->range;
  while (static_cast<int>(slots_.size()) < options_.ahead) {
    last = after(last);
    if (last.n < 1) break;
    if (spare_.empty()) spare_.push_back(std::make_shared<Slot>());
    const std::shared_ptr<Slot> slot = std::move(spare_.back());
    spare_.pop_back();
    slot->range = last;
    slot->fields = fields_;
    slot->stage = Stage::waiting;
    slot->error = nullptr;
    slots_.push_back(slot);
  }
  work_.notify_all();
}

void Prefetch::take(Lock& lock, TensorMap& batch) const {
  const std::shared_ptr<Slot> slot = slots_.front();
  if (slot->stage != Stage::ready) {
    const auto start = Clock::now();
    done_.wait(lock, [&] { return slot->stage == Stage::ready; });
    ++counts_.waits;
    counts_.wait_us += microseconds_since(start);
  }
  slots_.pop_front();
  if (slot->error) {
    slots_.clear();
    std::rethrow_exception(slot->error);
  }
  lock.unlock();
  copy_rows(slot->batch, 0, batch);
  lock.lock();
  spare_.push_back(slot);
  foresee(slot->range);
}

void Prefetch::fill_directly(Lock& lock, const Range& range, TensorMap& batch) const {
  const auto start = Clock::now();
  slots_.clear();
  done_.wait(lock, [&] { return making_ == 0; });
  lock.unlock();
  source_->fill(range.epoch, range.first, batch);
  lock.lock();
  ++counts_.direct;
  counts_.direct_us += microseconds_since(start);
  if (range.n < 1) return;
  learn(range);
  batch_ = range.n;
  fields_ = source_->fields();
  std::erase_if(fields_, [&](const Field& field) { return !batch.contains(field.name); });
  foresee(range);
}

void Prefetch::fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const {
  const std::lock_guard turn(caller_);
  const Range range{epoch, first, batch_size(batch, source_->fields(), name())};
  Lock lock(mutex_);
  ++counts_.fills;
  if (!slots_.empty() && slots_.front()->range == range && has_fields(batch, fields_)) {
    take(lock, batch);
  } else {
    fill_directly(lock, range, batch);
  }
  last_ = range;
}

}  // namespace tessera::datasets
