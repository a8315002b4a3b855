#include "core/memory_rule.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "core/error.h"
#include "core/plan_data.h"
#include "core/text.h"

namespace tessera {

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

std::atomic<std::int64_t> allowed{0};

std::int64_t times(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  return __builtin_mul_overflow(a, b, &out) ? kMost : out;
}
std::int64_t plus(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  return __builtin_add_overflow(a, b, &out) ? kMost : out;
}

void require(std::int64_t bytes, std::int64_t limit, std::string_view what) {
  check(bytes <= limit, what, " ", bytes, " bytes of memory, more than the limit of ", limit,
        "; --max-memory ", plus(bytes, kMiB - 1) / kMiB, " allows it (in C++ allow_memory())");
}

}  // namespace

void allow_memory(std::int64_t bytes) {
  allowed = bytes;
}

std::int64_t memory_limit(std::int64_t stored, std::int64_t samples) {
  return std::max(times(plus(times(kMemoryFactor, stored), kMemorySpare), samples), allowed.load());
}

void require_memory(std::int64_t bytes, std::int64_t stored, std::string_view what) {
  require(bytes, memory_limit(stored), what);
}

void require_memory(const PlanData& plan, const std::string& file) {
  std::int64_t kept = 0, run = plus(plan.memory.arena, plan.memory.scratch);
  for (const Buffer& buffer : plan.buffers) {
    using Kind = Buffer::Kind;
    const bool fixed = buffer.kind == Kind::persistent || buffer.kind == Kind::constant;
    if (fixed) kept = plus(kept, buffer.bytes);
    if (buffer.kind == Kind::input || buffer.kind == Kind::output) run = plus(run, buffer.bytes);
  }
  require_memory(kept, plan.memory.states,
                 cat(printable(file), ": what its plan prepares once takes"));
  const std::int64_t batch = plan.options.batch;
  require(run, memory_limit(plan.memory.states, batch),
          cat(printable(file), ": a run at batch ", batch, " takes"));
}

}  // namespace tessera
