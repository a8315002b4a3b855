#include <algorithm>

#include "core/plan_data.h"

namespace tessera {

// Greedy by size: the largest buffer first, each at the lowest offset where no buffer alive at the
// same time is in the way (Pisarchyk & Lee 2020, "greedy by size for offset calculation").
std::int64_t plan_arena(std::vector<Buffer>& buffers, const std::vector<Lifetime>& lifetimes) {
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
    const std::int64_t size = (bytes(item) + kAlignment - 1) & -kAlignment;
    std::int64_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (begin - offset >= size) break;
      offset = std::max(offset, (end + kAlignment - 1) & -kAlignment);
    }
    buffers[static_cast<std::size_t>(item.buffer)].offset = offset;
    total = std::max(total, offset + size);
    placed.push_back(item);
  }
  return total;
}

}  // namespace tessera
