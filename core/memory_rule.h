// How much memory a file may make the process take, so that a small one cannot ask for any amount:
// reading it, and preparing what it holds to run, takes at most kMemoryFactor times its size and
// kMemorySpare. docs/format.md states the rule; whoever trusts a file allows more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera {

inline constexpr std::int64_t kMemoryFactor = 4;
inline constexpr std::int64_t kMemorySpare = std::int64_t{256} << 20;  // bytes

// The rule is for files: a graph that was built in this process may ask for what it likes
// (Graph::source).

// From now on up to `bytes` may be taken where the rule gives less; 0 is the rule alone. For the
// whole process.
void allow_memory(std::int64_t bytes);

// What reading something that is stored in `stored` bytes may take, or running it on this many
// samples.
std::int64_t memory_limit(std::int64_t stored, std::int64_t samples = 1);

// Throws Error "WHAT N bytes of memory, more than the limit ..." when `bytes` is over the limit of
// something stored in `stored` bytes. `what` names the file and says what takes them.
void require_memory(std::int64_t bytes, std::int64_t stored, std::string_view what);

struct PlanData;
// The same for the plan of a graph that `file` holds: what it keeps against what its states store,
// and what a run takes against that for every sample of the batch.
void require_memory(const PlanData& plan, const std::string& file);

}  // namespace tessera
