#include <algorithm>
#include <map>
#include <queue>
#include <set>

#include "core/plan_data.h"

namespace tessera {

namespace {

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) & -kAlignment;
}

// First fit in the order of the steps: not as tight, but its time grows with the number of buffers
// rather than with the square.
std::int64_t plan_first_fit(std::vector<Buffer>& buffers, std::vector<Lifetime> lifetimes) {
  std::stable_sort(lifetimes.begin(), lifetimes.end(),
                   [](const Lifetime& a, const Lifetime& b) { return a.first < b.first; });
  using Hole = std::pair<std::int64_t, std::int64_t>;  // bytes, begin
  std::set<Hole> by_size;
  std::map<std::int64_t, std::int64_t> by_begin;  // begin -> bytes
  const auto add_hole = [&](std::int64_t begin, std::int64_t bytes) {
    by_begin[begin] = bytes;
    by_size.emplace(bytes, begin);
  };
  const auto take_hole = [&](std::map<std::int64_t, std::int64_t>::iterator hole) {
    by_size.erase({hole->second, hole->first});
    by_begin.erase(hole);
  };
  std::int64_t total = 0;
  using Death = std::pair<int, int>;  // last step, buffer
  std::priority_queue<Death, std::vector<Death>, std::greater<>> alive;
  for (const Lifetime& item : lifetimes) {
    while (!alive.empty() && alive.top().first < item.first) {
      const Buffer& dead = buffers[static_cast<std::size_t>(alive.top().second)];
      alive.pop();
      std::int64_t begin = dead.offset, bytes = aligned(dead.bytes);
      if (bytes == 0) continue;
      auto next = by_begin.lower_bound(begin);
      if (next != by_begin.begin() && std::prev(next)->first + std::prev(next)->second == begin) {
        begin = std::prev(next)->first;
        bytes += std::prev(next)->second;
        take_hole(std::prev(next));
      }
      if (next != by_begin.end() && begin + bytes == next->first) {
        bytes += next->second;
        take_hole(next);
      }
      add_hole(begin, bytes);
    }
    Buffer& buffer = buffers[static_cast<std::size_t>(item.buffer)];
    const std::int64_t bytes = aligned(buffer.bytes);
    const auto hole = by_size.lower_bound({bytes, 0});
    if (bytes > 0 && hole != by_size.end()) {
      const auto [room, begin] = *hole;
      take_hole(by_begin.find(begin));
      if (room > bytes) add_hole(begin + bytes, room - bytes);
      buffer.offset = begin;
    } else {
      buffer.offset = total;
      total += bytes;
    }
    alive.emplace(item.last, item.buffer);
  }
  return total;
}

}  // namespace

// Greedy by size: the largest buffer first, each at the lowest offset where no buffer alive at the
// same time is in the way (Pisarchyk & Lee 2020, "greedy by size for offset calculation").
std::int64_t plan_arena(std::vector<Buffer>& buffers, const std::vector<Lifetime>& lifetimes) {
  constexpr std::size_t kMany = 8192;  // buffers; networks have hundreds
  if (lifetimes.size() > kMany) return plan_first_fit(buffers, lifetimes);
  std::vector<Lifetime> order = lifetimes;
  const auto bytes = [&](const Lifetime& l) {
    return buffers[static_cast<std::size_t>(l.buffer)].bytes;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](const Lifetime& a, const Lifetime& b) { return bytes(a) > bytes(b); });
  std::vector<Lifetime> placed;
  std::int64_t total = 0;
  for (const Lifetime& item : order) {
    std::vector<std::pair<std::int64_t, std::int64_t>> taken;  // [begin, end)
    for (const Lifetime& other : placed) {
      if (other.first > item.last || item.first > other.last) continue;
      const Buffer& b = buffers[static_cast<std::size_t>(other.buffer)];
      taken.emplace_back(b.offset, b.offset + b.bytes);
    }
    std::sort(taken.begin(), taken.end());
    const std::int64_t size = aligned(bytes(item));
    std::int64_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (begin - offset >= size) break;
      offset = std::max(offset, aligned(end));
    }
    buffers[static_cast<std::size_t>(item.buffer)].offset = offset;
    total = std::max(total, offset + size);
    placed.push_back(item);
  }
  return total;
}

}  // namespace tessera
